// iOS and macOS, with LiveKit's Swift SDK (github.com/livekit/client-sdk-swift).
// Add NSMicrophoneUsageDescription to Info.plist. `page` is where `agent-worker web` listens.

import Foundation
import LiveKit

struct Given: Decodable {
    let server_url: String
    let participant_token: String
}

@MainActor
final class Talk: ObservableObject {
    @Published private(set) var lines: [String] = []
    private let room = Room()

    func begin(page: URL) async throws {
        var request = URLRequest(url: page.appendingPathComponent("api/token"))
        request.httpMethod = "POST"
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.httpBody = Data("{}".utf8)
        let (body, _) = try await URLSession.shared.data(for: request)
        let given = try JSONDecoder().decode(Given.self, from: body)

        try await room.registerTextStreamHandler(for: "lk.transcription") { reader, identity in
            let text = try await reader.readAll()
            guard reader.info.attributes["lk.transcription_final"] == "true" else { return }
            await MainActor.run { self.lines.append("\(identity): \(text)") }
        }
        try await room.connect(url: given.server_url, token: given.participant_token)
        try await room.localParticipant.setMicrophone(enabled: true)
    }

    func end() async {
        await room.disconnect()
    }
}
