import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';
import { readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

/** Leaves each file compressed, twice, and not as it was: takd embeds nothing else. */
function compressed(dir: string): Plugin {
  return {
    name: 'compressed',
    apply: 'build',
    closeBundle() {
      for (const e of readdirSync(dir, { recursive: true, withFileTypes: true })) {
        const path = join(e.parentPath, e.name);
        if (!e.isFile() || /\.(gz|br)$/.test(path)) continue;
        const raw = readFileSync(path);
        writeFileSync(path + '.gz', gzipSync(raw, { level: 9 }));
        writeFileSync(path + '.br', brotliCompressSync(raw, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } }));
        unlinkSync(path);
      }
    },
  };
}

export default defineConfig({
  base: '/ui/',
  plugins: [svelte(), compressed('dist/app')],
  build: { outDir: 'dist/app', emptyOutDir: true, target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 2000 },
  worker: { format: 'es' },
});
