// Bundle the page into ../static, or the folder that is named: `npm ci && npm run build`.

import { build } from 'esbuild'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'

const out = process.argv[2] ?? '../static'
mkdirSync(out, { recursive: true })
await build({
  entryPoints: ['src/main.js'],
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  charset: 'utf8',
  outfile: `${out}/page.js`,
})
await build({ entryPoints: ['page.css'], minify: true, outfile: `${out}/page.css` })
copyFileSync('index.html', `${out}/index.html`)

const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'))
const licences = Object.entries(dependencies).map(([name, version]) => {
  const text = readFileSync(`node_modules/${name}/LICENSE`, 'utf8').trim()
  return `${name} ${version}\n\n${text}\n`
})
writeFileSync(`${out}/licenses.txt`, [
  'This page is made by xpscale (MIT licence) and holds these packages:\n', ...licences,
].join(`\n${'-'.repeat(72)}\n\n`))
