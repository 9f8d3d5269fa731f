// What Grafana would ask and get: the answers to every query of a dashboard.

const rateInterval = 10 // seconds: a little more than four scrapes

/** The dashboard with a `series` beside each target: `[{ labels, name, times, values }]`. */
export async function filled(board, prometheus, { from, to, instance }) {
  const step = Math.max(2, Math.round((to - from) / 400))
  const fill = (expr) =>
    expr
      .replaceAll('$__rate_interval', `${Math.max(rateInterval, 4 * step)}s`)
      .replaceAll('$job', '.+')
      .replaceAll('$instance', instance ?? '.+')
      .replaceAll('$role', '.+')
  const ask = async (path, parameters) => {
    const answer = await (
      await fetch(`${prometheus}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) })
    ).json()
    if (answer.status !== 'success') throw new Error(`${parameters.query}: ${answer.error}`)
    return answer.data.result
  }
  const named = (legend, labels) => legend.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '')
  const read = async (expr, legend, instant) => {
    const result = instant
      ? await ask('query', { query: fill(expr), time: to })
      : await ask('query_range', { query: fill(expr), start: from, end: to, step })
    return result.map(({ metric, value, values = [value] }) => {
      const at = new Map(values.map(([time, value]) => [time, Number(value)]))
      const times = []
      // Where there is no sample there is a gap.
      for (let time = instant ? to : from; time <= to; time += step) times.push(time)
      return {
        labels: metric,
        name: named(legend, metric),
        times: times.map((it) => it * 1000),
        values: times.map((it) => at.get(it) ?? null),
      }
    })
  }
  for (const panel of board.panels) {
    for (const target of panel.targets ?? [])
      target.series = await read(target.expr, target.legendFormat, target.instant)
  }
  for (const mark of board.annotations.list) {
    const series = await read(mark.target.expr, mark.titleFormat)
    const inside = (moment) => moment >= from * 1000 && moment <= to * 1000
    mark.moments = mark.useValueForTime
      ? [...new Set(series.flatMap(({ values }) => values.filter(inside)))]
      : []
    mark.regions = mark.useValueForTime ? [] : series.flatMap(({ times, values }) => regions(times, values))
  }
  return { ...board, from: from * 1000, to: to * 1000 }
}

/** From when to when there were samples. */
function regions(times, values) {
  const found = []
  values.forEach((value, at) => {
    if (value === null) return
    if ((values[at - 1] ?? null) === null) found.push([times[at], times[at]])
    found.at(-1)[1] = times[at]
  })
  return found
}
