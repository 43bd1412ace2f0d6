// Small helpers for the document.

export const $ = (selector, inside = document) => inside.querySelector(selector)

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value)
    else if (value !== false && value !== undefined) made.setAttribute(name, value)
  }
  made.append(...children)
  return made
}

export function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) =>
    new Option(text, value, false, value === chosen)))
}

let timer
// Tell readers of the screen, too.
export function announce(text) {
  clearTimeout(timer)
  timer = setTimeout(() => { $('#live').textContent = text }, 150)
}

export function save(name, text, type = 'text/csv') {
  const url = URL.createObjectURL(new Blob([text], { type }))
  element('a', { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

export const explain = (error) => error.message || String(error)

// Names of columns as people read them.
export function columnLabel(site, name) {
  if (name === 'count') return 'number of sources'
  const known = site.columns.find((column) => column.name === name)
  if (site.shares.includes(name)) return name === 'flags' ? 'share with a flag' : `share with ${name}`
  const unit = known?.unit ? ` / ${known.unit.replace('.s**-1', ' s⁻¹')}` : ''
  return name + unit
}

export const colourChoices = (site) =>
  ['count', ...site.drawn].map((name) => [name, columnLabel(site, name)])
