// Pan, zoom and lasso on a canvas: mouse, wheel, touch, keys.

const STEP = 60 // pixels that an arrow key moves
const FACTOR = 1.6 // of + and -

// `view` has pan(dx, dy), zoom(factor, x, y), press(x, y), hover(x, y) or hover(null), and, for
// lassos, lasso(points) with `lassoing` true.
export function listen(canvas, view) {
  const fingers = new Map()
  let moved = 0
  let points = null
  const at = (event) => {
    const box = canvas.getBoundingClientRect()
    return [event.clientX - box.left, event.clientY - box.top]
  }

  canvas.addEventListener('pointerdown', (event) => {
    if (event.button) return
    canvas.setPointerCapture(event.pointerId)
    fingers.set(event.pointerId, at(event))
    moved = 0
    points = view.lassoing && fingers.size === 1 ? [at(event)] : null
  })

  canvas.addEventListener('pointermove', (event) => {
    const now = at(event)
    const before = fingers.get(event.pointerId)
    if (!before) return view.hover(...now)
    const step = Math.hypot(now[0] - before[0], now[1] - before[1])
    moved += step
    if (points) {
      if (step < 2) return
      points.push(now)
      fingers.set(event.pointerId, now)
      return view.drawLasso(points)
    }
    if (fingers.size === 1) view.pan(now[0] - before[0], now[1] - before[1])
    else pinch(event.pointerId, before, now)
    fingers.set(event.pointerId, now)
  })

  function pinch(id, before, now) {
    const other = [...fingers].find(([key]) => key !== id)[1]
    const distance = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1
    view.zoom(distance(now) / distance(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2)
  }

  function release(event) {
    if (!fingers.delete(event.pointerId)) return
    if (points?.length > 2) view.lasso(points)
    else if (moved < 5 && event.type === 'pointerup') view.press(...at(event))
    points = null
  }
  canvas.addEventListener('pointerup', release)
  canvas.addEventListener('pointercancel', release)
  canvas.addEventListener('pointerleave', () => view.hover(null))
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault()
    view.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015)), ...at(event))
  }, { passive: false })

  canvas.addEventListener('keydown', (event) => {
    const { width, height } = canvas.getBoundingClientRect()
    const act = {
      ArrowLeft: () => view.pan(STEP, 0),
      ArrowRight: () => view.pan(-STEP, 0),
      ArrowUp: () => view.pan(0, STEP),
      ArrowDown: () => view.pan(0, -STEP),
      '+': () => view.zoom(FACTOR, width / 2, height / 2),
      '=': () => view.zoom(FACTOR, width / 2, height / 2),
      '-': () => view.zoom(1 / FACTOR, width / 2, height / 2),
      0: () => view.reset(),
      Enter: () => view.press(width / 2, height / 2),
    }[event.key]
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    act()
    view.hover(width / 2, height / 2)
  })
}

// Fit a canvas to its box, and call `draw` now, when its size or the colours of the page change.
export function fit(canvas, draw) {
  const again = () => {
    const { width, height } = canvas.getBoundingClientRect()
    if (!width) return
    canvas.width = Math.round(width * Math.min(devicePixelRatio, 2))
    canvas.height = Math.round(height * Math.min(devicePixelRatio, 2))
    draw()
  }
  new ResizeObserver(again).observe(canvas)
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', again)
  addEventListener('theme', again)
}

// At most one call a frame.
export function eachFrame(draw) {
  let asked = 0
  return () => { asked ||= requestAnimationFrame(() => { asked = 0; draw() }) }
}
