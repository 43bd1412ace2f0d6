// A star's page: its spectrum as reconstructed, its latents, its neighbours.

import { chart } from './chart.js'
import { CannotRead } from './ranges.js'
import { number } from './colours.js'
import { unpackWords } from './tiles.js'
import { $, announce, columnLabel, element, explain } from './page.js'

const N_NEIGHBOURS = 10
const MINUS = (text) => text.replace('-', '−')

export class Star {
  constructor(site, catalog, views) {
    Object.assign(this, { site, catalog, views })
    this.place = $('#star .content')
  }

  async show(text) {
    this.asked = text
    $('#star h1').textContent = `Gaia source ${text}`
    document.title = `${text} · ${this.site.title}`
    if (!/^\d{1,19}$/.test(text)) return this.say(`“${text}” is no Gaia source_id.`)
    if (!this.catalog.reachable) {
      return this.say('This site has no way to the catalogue’s files: make it anew with --data-url. '
        + `Meanwhile: xpscale query CATALOG --ids ${text}`)
    }
    this.say('Reading …')
    try {
      const row = await this.catalog.star(BigInt(text))
      if (this.asked !== text) return
      if (!row) return this.say(`The catalogue has no source ${text} near the place that the identifier names.`)
      this.fill(row)
      this.say('')
      announce(`Source ${text} is shown`)
    } catch (error) {
      if (!(error instanceof CannotRead)) console.error(error)
      this.say(explain(error))
    }
  }

  say(text) {
    $('#star .status').textContent = text
    if (text) {
      this.place.replaceChildren()
      announce(text)
    }
  }

  fill(row) {
    const spectrum = element('section', { 'aria-labelledby': 'spectrum-title' },
      element('h2', { id: 'spectrum-title' }, 'Spectrum'))
    const neighbours = element('section', { 'aria-labelledby': 'neighbours-title' },
      element('h2', { id: 'neighbours-title' }, 'Nearest in latent space'))
    const labels = this.site.labels ? element('section', { 'aria-labelledby': 'labels-title' },
      element('h2', { id: 'labels-title' }, 'Labels')) : ''
    this.place.replaceChildren(this.summary(row), spectrum, labels,
      element('div', { class: 'columns' }, this.latents(row), neighbours), this.others(row))
    if (labels) this.fillLabels(labels, row).catch((error) => fail(labels, error))
    this.fillSpectrum(spectrum, row).catch((error) => fail(spectrum, error))
    this.fillNeighbours(neighbours, row).catch((error) => fail(neighbours, error))
  }

  summary(row) {
    const latents = this.site.axes.map(({ name }) => row[name])
    const see = (text, act) => element('button', { type: 'button', onclick: act }, text)
    return element('div', { class: 'summary' },
      element('p', {}, `RA ${row.ra.toFixed(6)}°, Dec ${MINUS(row.dec.toFixed(6))}° (ICRS)`),
      element('p', {}, ...this.flagWords(row.flags)),
      element('p', { class: 'buttons' },
        see('Show on the sky', () => this.views.sky(row.ra, row.dec)),
        this.site.axes.length > 1 ? see('Show on the latent map', () => this.views.latents(latents)) : ''))
  }

  flagWords(flags) {
    const set = setBits(this.site.flags, flags)
    if (!set.length) return ['No flags: nothing to remark.']
    return ['Flags: ', ...set.map((words) => element('span', { class: 'flag' }, words))]
  }

  // Each label with its error and its flags in words, where the catalogue has them.
  async fillLabels(section, { part, index, source_id }) {
    const { of, flags } = this.site.labels
    const found = { source_id }
    await this.catalog.addLabels(part, [found], [index], of.flatMap(Object.values))
    section.append(
      element('p', {}, 'Read off the latents, from stars of which they are known.'),
      table('Labels with their errors', ['label', 'value', 'error', 'remarks'],
        of.map(({ name, error, flags: bits }) => [columnLabel(this.site, name), number(found[name], 5),
          error ? number(found[error], 3) : '–', bits ? this.remarks(flags, found[bits]) : '–'])))
  }

  remarks(words, bits) {
    const set = setBits(words, bits)
    return set.length ? element('span', {}, ...set.map((text) => element('span', { class: 'flag' }, text))) : 'none'
  }

  latents(row) {
    const n = this.site.n_latents
    const rows = Array.from({ length: n }, (_, i) => {
      const [mean, logVar] = [row[`latent_mean_${i}`], row[`latent_log_var_${i}`]]
      return [String(i), number(mean), logVar === undefined ? '–' : number(Math.exp(logVar / 2), 3)]
    })
    return element('section', { 'aria-labelledby': 'latents-title' },
      element('h2', { id: 'latents-title' }, 'Latents'),
      table('Latents with their errors', ['latent', 'mean', 'error'], rows))
  }

  others(row) {
    const shown = this.site.columns.filter(({ name }) =>
      !/^latent_|^_healpix|^source_id$|^ra$|^dec$|^flags$/.test(name) && row[name] !== undefined)
    const rows = shown.map(({ name, description }) =>
      [columnLabel(this.site, name), number(row[name], 5), description])
    return element('section', { 'aria-labelledby': 'others-title' },
      element('h2', { id: 'others-title' }, 'Other columns'),
      table('Other columns of this source', ['column', 'value', 'meaning'], rows, 'scroll wide'))
  }

  async fillSpectrum(section, row) {
    const { site } = this
    if (!site.outputs.includes('reconstruction')) {
      section.append(element('p', {}, 'This catalogue has no reconstructed spectra. '
        + `“xpscale spectrum CATALOG ${row.source_id}” decodes this one from its latents.`))
      return
    }
    const found = await this.catalog.spectrum(row)
    const scatter = found.scatter ?? found.reconstruction.map(() => 0)
    section.append(element('p', {}, 'The spectrum as the model reconstructs it from the latents, '
      + 'with one standard deviation of intrinsic scatter. The catalogue holds no observed spectra.'))
    if (site.calibrated) section.append(await this.fluxChart(found.reconstruction, scatter))
    const coefficients = element('details', { class: 'coefficients', open: !site.calibrated },
      element('summary', {}, 'Coefficients of both bands'))
    coefficients.append(...this.coefficientCharts(found.reconstruction, scatter))
    section.append(coefficients)
  }

  // f = c A, and its deviation sqrt(s^2 A^2); BP and RP are the parts of their own coefficients.
  async fluxChart(c, s) {
    const words = new Float32Array(await unpackWords(`${this.site.data}/calibration.bin`))
    const n = words.length / (c.length + 1)
    const wavelength = Array.from(words.subarray(0, n))
    const { n_bp: nBp } = this.site.bands
    const [bp, rp, variance] = [0, 0, 0].map(() => new Float64Array(n))
    for (let k = 0; k < c.length; k++) {
      const band = k < nBp ? bp : rp
      for (let i = 0, at = (k + 1) * n; i < n; i++, at++) {
        band[i] += c[k] * words[at]
        variance[i] += (s[k] * words[at]) ** 2
      }
    }
    const flux = Array.from(bp, (f, i) => f + rp[i])
    const deviation = Array.from(variance, Math.sqrt)
    const share = deviation.map((d, i) => d / Math.abs(flux[i])).sort((a, b) => a - b)[n >> 1]
    return chart({
      title: 'Reconstructed flux against wavelength, with its scatter',
      x: wavelength, xLabel: 'wavelength / nm', yLabel: 'flux / 10⁻¹⁸ W m⁻² nm⁻¹',
      band: deviation, bandName: `±1σ scatter, ${number(100 * share, 2)} % of the flux (median)`,
      lines: [
        { name: 'both', className: 'line-both', y: flux },
        { name: 'from BP', className: 'line-bp', y: contributing(bp, flux) },
        { name: 'from RP', className: 'line-rp', y: contributing(rp, flux) },
      ],
    })
  }

  coefficientCharts(c, s) {
    const { n_bp: nBp } = this.site.bands
    return [['BP', 0, nBp], ['RP', nBp, c.length]].filter(([, first, stop]) => stop > first)
      .map(([name, first, stop]) => chart({
        title: `${name} coefficients`,
        x: Array.from({ length: stop - first }, (_, i) => i), xLabel: `${name} coefficient`,
        yLabel: 'electron s⁻¹ (signed root)', root: true, band: Array.from(s.slice(first, stop)),
        bandName: '±1σ scatter',
        lines: [{ name, className: `line-${name.toLowerCase()}`, y: Array.from(c.slice(first, stop)) }],
      }))
  }

  async fillNeighbours(section, row) {
    const { ids, values } = await this.sample()
    const mine = this.site.axes.map(({ name }) => row[name])
    const distances = ids.map((_, i) => Math.hypot(...mine.map((v, k) => v - values[k][i])))
    const nearest = Array.from(ids.keys()).filter((i) => ids[i] !== row.source_id && distances[i] >= 0)
      .sort((a, b) => distances[a] - distances[b]).slice(0, N_NEIGHBOURS)
    const { n_sample: n, n_rows: all } = this.site
    section.append(
      element('p', {}, n === all ? 'Of all sources, by the distance of their latents’ means.'
        : `Of a regular sample of ${number(n)} of the ${number(all)} sources; of all, by `
          + `“xpscale query CATALOG --like ${row.source_id} -n ${N_NEIGHBOURS}”.`),
      table('Ten neighbours', ['source_id', 'distance'], nearest.map((i) =>
        [element('a', { href: `#/star/${ids[i]}` }, String(ids[i])), number(distances[i], 3)])))
  }

  // Identifiers and latents: the sample's file has words of four bytes, a row a half or a latent.
  async sample() {
    this.loading ??= unpackWords(`${this.site.data}/sample.bin`).then((buffer) => {
      const n = buffer.byteLength / 4 / (this.site.axes.length + 2)
      const halves = new Uint32Array(buffer)
      const ids = Array.from({ length: n }, (_, i) => (BigInt(halves[n + i]) << 32n) | BigInt(halves[i]))
      return { ids, values: this.site.axes.map((_, k) => new Float32Array(buffer, 4 * n * (k + 2), n)) }
    })
    return this.loading
  }
}

// A band's part of the flux where it has one: a millionth is rounding.
const contributing = (band, flux) => Array.from(band, (f, i) => (Math.abs(f) > 1e-6 * Math.abs(flux[i]) ? f : NaN))

// The words of the bits that are set.
const setBits = (words, bits) =>
  Object.entries(words).filter(([bit]) => bits & Number(bit)).map(([, text]) => text)

function fail(section, error) {
  if (!(error instanceof CannotRead)) console.error(error)
  section.append(element('p', { class: 'problem' }, explain(error)))
}

function table(caption, heads, rows, className = 'scroll') {
  return element('div', { class: className, tabindex: 0, role: 'region', 'aria-label': caption },
    element('table', {},
      element('caption', { class: 'hidden' }, caption),
      element('thead', {}, element('tr', {}, ...heads.map((head) => element('th', { scope: 'col' }, head)))),
      element('tbody', {}, ...rows.map((cells) =>
        element('tr', {}, ...cells.map((cell) => element('td', {}, cell)))))))
}
