import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "jsdom",
    include: ["test/**/*.test.{ts,tsx}"],
    // A busy machine with two cores takes long to load React; nothing here waits for real time.
    testTimeout: 30_000,
  },
});
