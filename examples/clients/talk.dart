// Flutter, with LiveKit's SDK (livekit_client on pub.dev) and the package http. `page` is where
// `agent-worker web` listens.

import 'dart:convert';

import 'package:http/http.dart' as http;
import 'package:livekit_client/livekit_client.dart';

class Talk {
  Talk(this.write);

  final void Function(String line) write;
  final Room _room = Room();

  Future<void> begin(Uri page) async {
    final answer = await http.post(
      page.resolve('api/token'),
      headers: {'Content-Type': 'application/json'},
      body: '{}',
    );
    final given = jsonDecode(answer.body) as Map<String, dynamic>;

    _room.registerTextStreamHandler('lk.transcription', (TextStreamReader reader, String identity) async {
      final text = await reader.readAll();
      if (reader.info?.attributes['lk.transcription_final'] == 'true') {
        write('$identity: $text');
      }
    });
    await _room.connect(given['server_url'] as String, given['participant_token'] as String);
    await _room.localParticipant?.setMicrophoneEnabled(true);
  }

  Future<void> end() => _room.disconnect();
}
