// Android, with LiveKit's Kotlin SDK (io.livekit:livekit-android). The app needs the permissions
// RECORD_AUDIO and INTERNET. `page` is where `agent-worker web` listens.

package org.example.talk

import android.content.Context
import io.livekit.android.LiveKit
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext
import org.json.JSONObject
import java.net.HttpURLConnection
import java.net.URL

class Talk(context: Context, private val scope: CoroutineScope, private val write: (String) -> Unit) {
    private val room = LiveKit.create(context)

    suspend fun begin(page: String) {
        val given = withContext(Dispatchers.IO) {
            val ask = URL("$page/api/token").openConnection() as HttpURLConnection
            ask.requestMethod = "POST"
            ask.setRequestProperty("Content-Type", "application/json")
            ask.doOutput = true
            ask.outputStream.use { it.write("{}".toByteArray()) }
            JSONObject(ask.inputStream.bufferedReader().readText())
        }
        room.registerTextStreamHandler("lk.transcription") { reader, identity ->
            scope.launch {
                val text = reader.readAll().joinToString("")
                if (reader.info.attributes["lk.transcription_final"] == "true") {
                    write("${identity.value}: $text")
                }
            }
        }
        room.connect(given.getString("server_url"), given.getString("participant_token"))
        room.localParticipant.setMicrophoneEnabled(true)
    }

    fun end() {
        room.disconnect()
    }
}
