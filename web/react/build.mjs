// Builds the package into the folder named: the hooks with the client in one module, the worklets
// each in one of their own beside it, and the types.

import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, "dist"));
const shared = { bundle: true, format: "esm", target: "es2022", outdir: folder, logLevel: "warning" };

await build({
  ...shared,
  entryPoints: [join(here, "index.ts")],
  external: ["react"],
  // Frameworks that render on a server ask which modules belong into the browser.
  banner: { js: '"use client";' },
});
await build({
  ...shared,
  entryPoints: ["capture_worklet", "playback_worklet"].map((name) => join(here, "../s2s", `${name}.js`)),
});
const compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");
const types = ["-p", join(here, "tsconfig.build.json"), "--outDir", join(folder, "types")];
execFileSync(process.execPath, [compiler, ...types], { stdio: "inherit" });
