// The catalogue's own Parquet files, read by range requests.

import { parquetMetadata, parquetMetadataAsync, parquetReadObjects, parquetScan, rowIndex } from 'hyparquet'
import { decompress } from 'fzstd'
import { CannotRead, remoteFile } from './ranges.js'
import { centreOf, coneCover, separation, vector } from './healpix.js'
import { unpack } from './tiles.js'

const compressors = { ZSTD: (input, length) => decompress(input, new Uint8Array(length)) }
const FOOTER_BYTES = 1 << 16 // read of a file whose footer's size is not known
const CHECKSUM_BYTES = 8 // after a packed footer
const ORDER = 12 // of the pixels that a source_id carries, and of cones
const EARLY_MINUTES = 5 // how far a source may have moved from the place in its source_id
const LABELS = 'labels'
const AT_ONCE = 8

export class Catalog {
  constructor(site) {
    this.site = site
    this.url = site.catalog
    this.files = new Map()
    this.labelColumns = new Set(site.labels?.of.flatMap(Object.values))
  }

  get reachable() { return Boolean(this.url) }

  async parts() {
    this.loading ??= unpack(`${this.site.data}/parts.bin`).then((bytes) =>
      JSON.parse(new TextDecoder().decode(bytes)).map(([order, pixel, rows, ...sizes]) => ({
        order, pixel, rows,
        sizes: this.site.tables.map((_, i) => sizes.slice(3 * i, 3 * i + 3)), // see _parts in make.py
        first: pixel * 4 ** (ORDER - order), // pixels of order 12
        stop: (pixel + 1) * 4 ** (ORDER - order),
      })))
    return this.loading
  }

  // A part's file and its footer, the newest few of which are kept.
  async open(part, product) {
    const directory = Math.floor(part.pixel / 10000) * 10000
    const key = `${product}/dataset/Norder=${part.order}/Dir=${directory}/Npix=${part.pixel}.parquet`
    if (!this.files.has(key)) {
      if (this.files.size > 64) this.files.delete(this.files.keys().next().value)
      const sizes = part.sizes[this.site.tables.indexOf(product)]
      const file = remoteFile(this.url + key, sizes[0])
      const footer = product === LABELS ? this.labelFooter(file, ...sizes) : readFooter(file, ...sizes)
      const opened = footer.then((metadata) => ({ file, metadata, compressors }))
      opened.catch(() => this.files.delete(key))
      this.files.set(key, opened)
    }
    return this.files.get(key)
  }

  // Labels can be published anew under the names of the files that were there.
  async labelFooter(file, ...sizes) {
    const metadata = await readFooter(file, ...sizes).catch((error) => {
      if (error instanceof CannotRead && error.status !== 416) throw error
    })
    const stated = metadata?.key_value_metadata?.find(({ key }) => key === 'xpscale.manifest')
    if (stated?.value === this.site.labels.made_of) return metadata
    throw new CannotRead('The labels of the catalogue have been replaced since this page was made; '
      + 'it must be made again (xpscale site).')
  }

  // Put labels into rows of a part; `indexes` are their numbers in it, in rising order.
  async addLabels(part, rows, indexes, columns) {
    const wanted = columns.filter((name) => this.labelColumns.has(name))
    if (!rows.length || !wanted.length) return
    const first = indexes[0]
    const found = await parquetReadObjects({
      ...await this.open(part, LABELS), columns: ['source_id', ...wanted],
      rowStart: first, rowEnd: indexes.at(-1) + 1, useOffsetIndex: true,
    })
    rows.forEach((row, i) => {
      const { source_id: id, ...values } = found[indexes[i] - first]
      if (id !== row.source_id) throw new CannotRead('The labels of the catalogue are not those of its sources.')
      Object.assign(row, values)
    })
  }

  // Rows of a part that pass a filter, each with its number in the part.
  async rows(part, product, filter, columns) {
    const opened = await this.open(part, product)
    return parquetReadObjects({
      ...opened, filter, columns, usePageIndex: true, useOffsetIndex: true, includeRowIndex: true,
    })
  }

  // The row of a source, or null: it lies in the part that holds the place in its identifier, or,
  // if it moved, in one beside that.
  async star(id) {
    const pixel = Number(id >> 35n)
    if (pixel < 0 || pixel >= 12 * 4 ** ORDER) return null
    const place = centreOf(ORDER, pixel)
    const near = new Set([pixel, ...coneCover(ORDER, place, EARLY_MINUTES / 60)])
    const parts = (await this.parts()).filter(({ first, stop }) =>
      [...near].some((p) => p >= first && p < stop))
    parts.sort((a, b) => holds(b, pixel) - holds(a, pixel))
    for (const part of parts) {
      const [row] = await this.rows(part, 'latents', { source_id: { $eq: id } })
      if (row) return { part, index: row[rowIndex], ...row }
    }
    return null
  }

  // Reconstruction and scatter of a star, from `star`.
  async spectrum({ part, index, source_id }) {
    const opened = await this.open(part, 'spectra')
    const columns = ['source_id', ...this.site.outputs.filter((o) => /^(reconstruction|scatter)$/.test(o))]
    const found = await parquetReadObjects({
      ...opened, columns, rowStart: index, rowEnd: index + 1, useOffsetIndex: true,
    })
    if (found[0]?.source_id === source_id) return found[0]
    return (await this.rows(part, 'spectra', { source_id: { $eq: source_id } }, columns))[0]
  }

  // Those of some columns that the latents have, each once.
  ownColumns(names) {
    return [...new Set(names)].filter((name) => !this.labelColumns.has(name))
  }

  // Sources within a radius in degrees, nearest first.
  async cone(longitude, latitude, radius, columns, most = 2000) {
    const centre = vector(longitude, latitude)
    const order = Math.max(0, Math.min(ORDER, Math.floor(Math.log2(60 / Math.max(radius, 0.01)))))
    const step = 4 ** (ORDER - order)
    const runs = merged(coneCover(order, centre, radius).map((p) => [p * step, (p + 1) * step]))
    const found = []
    for (const part of await this.parts()) {
      for (const [first, stop] of runs) {
        if (part.first >= stop || part.stop <= first) continue
        const filter = { $and: [
          { _healpix_29: { $gte: BigInt(first) << 34n } },
          { _healpix_29: { $lt: BigInt(stop) << 34n } },
        ] }
        const wanted = this.ownColumns(['_healpix_29', 'source_id', 'ra', 'dec', ...columns])
        const rows = await this.rows(part, 'latents', filter, wanted)
        for (const row of rows) row.separation = separation(vector(row.ra, row.dec), centre)
        const inside = rows.filter((row) => row.separation <= radius)
        await this.addLabels(part, inside, inside.map((row) => row[rowIndex]), columns)
        found.push(...inside)
        if (found.length > most) return { rows: sorted(found), all: false }
      }
    }
    return { rows: sorted(found), all: true }
  }

  // Rows whose point (x, y) is `inside`: some rows at a time, and how far the scan is.  `mayHold`
  // says of a part's number whether it can have such rows; there are `about` so many in all.
  async *scan(x, y, box, inside, columns, mayHold, about) {
    const parts = (await this.parts()).filter((_, number) => mayHold(number))
    const wanted = this.ownColumns([x, y, 'source_id', 'ra', 'dec', ...columns])
    const share = about / this.site.n_rows
    const between = { $and: [
      { [x]: { $gte: box[0] } }, { [x]: { $lte: box[1] } },
      { [y]: { $gte: box[2] } }, { [y]: { $lte: box[3] } },
    ] }
    const prepare = async (part) => part
      && parquetScan({ ...await this.open(part, 'latents'), columns: wanted, pruningFilter: between })
    const ahead = parts.slice(0, AT_ONCE).map(prepare)
    for (let i = 0; i < parts.length; i++) {
      const scan = await ahead.shift()
      ahead.push(prepare(parts[i + AT_ONCE]))
      for (let at = 0; at < scan.ranges.length; at += AT_ONCE) {
        const some = scan.ranges.slice(at, at + AT_ONCE)
        const found = await Promise.all(some.map(async (range) => {
          const { rows, indexes } = await matching(scan, range, inside, wanted, share)
          await this.addLabels(parts[i], rows, indexes, columns)
          return rows
        }))
        const part = (at + some.length) / scan.ranges.length
        yield { rows: found.flat(), done: i + part, of: parts.length }
      }
    }
  }
}

// The first two columns are the point.  The others are read in a second request, if any row lies
// inside; in the same one where that is to be expected.
async function matching(scan, range, inside, wanted, share) {
  const read = (names) => Promise.all(names.map((column) => scan.readColumn({ column, ...range })))
  const expected = share * (range.rowEnd - range.rowStart) >= 1
  const values = await read(expected ? wanted : wanted.slice(0, 2))
  const hits = []
  for (let i = 0; i < values[0].length; i++) if (inside(values[0][i], values[1][i])) hits.push(i)
  if (hits.length && !expected) values.push(...await read(wanted.slice(2)))
  return {
    rows: hits.map((i) => Object.fromEntries(wanted.map((column, c) => [column, values[c][i]]))),
    indexes: hits.map((i) => range.rowStart + i),
  }
}

// The footer, or the packed copy before it, which is a tenth as large (xpscale/catalog/footer.py).
async function readFooter(file, bytes, footerBytes, packedBytes) {
  if (!packedBytes) return parquetMetadataAsync(file, { initialFetchSize: footerBytes || FOOTER_BYTES })
  const end = bytes - footerBytes
  const packed = await file.slice(end - packedBytes, end - CHECKSUM_BYTES)
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'))
  return parquetMetadata(await new Response(stream).arrayBuffer())
}

const holds = (part, pixel) => Number(pixel >= part.first && pixel < part.stop)
const sorted = (rows) => rows.sort((a, b) => a.separation - b.separation)

function merged(runs) {
  const found = []
  for (const [first, stop] of runs.sort((a, b) => a[0] - b[0])) {
    if (found.length && found.at(-1)[1] >= first) found.at(-1)[1] = Math.max(stop, found.at(-1)[1])
    else found.push([first, stop])
  }
  return found
}
