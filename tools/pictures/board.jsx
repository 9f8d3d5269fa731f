// A dashboard on a page: Grafana's frame, time series and stat; heatmap, state timeline and
// table, which its packages do not export, in its colours.
import 'uplot/dist/uPlot.min.css'
import { createRoot } from 'react-dom/client'
import { BigValue, GlobalStyles, PanelChrome, ThemeContext, TimeSeries } from '@grafana/ui'
import {
  FieldType,
  createTheme,
  dateTime,
  getDisplayProcessor,
  getValueFormat,
  formattedValueToString,
  toDataFrame,
} from '@grafana/data'

const theme = createTheme({ colors: { mode: 'dark' } })
const { board } = window
const [CELL, ROW, GAP] = [(1500 - 16) / 24, 30, 8]
const span = board.to - board.from

const colour = (name) => theme.visualization.getColorByName(name)
const say = (unit, value, decimals) => formattedValueToString(getValueFormat(unit)(value, decimals))
const all = (panel) => panel.targets.flatMap((target) => target.series)
const hasData = (panel) => all(panel).some((it) => it.values.some((value) => value !== null))

function frames(panel) {
  return all(panel).map((series, seriesIndex) => {
    const { defaults, overrides } = panel.fieldConfig
    const config = { ...defaults, displayName: series.name, custom: { ...defaults.custom } }
    for (const { matcher, properties } of overrides) {
      if (new RegExp(`^(?:${matcher.options})$`).test(series.name))
        for (const { id, value } of properties) config[id] = value
    }
    const frame = toDataFrame({
      fields: [
        { name: 'time', type: FieldType.time, values: series.times, config: {} },
        { name: series.name, type: FieldType.number, values: series.values, labels: series.labels, config },
      ],
    })
    const numbers = all(panel).flatMap((it) => it.values.filter((value) => value !== null))
    const [min, max] = [defaults.min ?? Math.min(...numbers), defaults.max ?? Math.max(...numbers)]
    for (const field of frame.fields) {
      field.state = {
        seriesIndex,
        displayName: field.name === 'time' ? 'time' : series.name,
        range: { min, max, delta: max - min },
      }
      field.display = getDisplayProcessor({ field, theme })
    }
    return frame
  })
}

function Lines({ panel, width, height }) {
  const timeRange = { from: dateTime(board.from), to: dateTime(board.to), raw: { from: 'now-4m', to: 'now' } }
  return (
    <TimeSeries
      frames={frames(panel)}
      timeRange={timeRange}
      timeZone="utc"
      width={width}
      height={height}
      legend={panel.options.legend}
      structureRev={1}
    >
      {(config) => {
        config.addHook('draw', marks)
        return null
      }}
    </TimeSeries>
  )
}

/** Annotations: regions shaded, moments as dashed lines over the plot. */
function marks({ ctx, bbox, valToPos }) {
  const at = (moment) => Math.round(valToPos(moment, 'x', true)) + 0.5
  ctx.save()
  ctx.setLineDash([4, 4])
  for (const { iconColor, moments, regions } of board.annotations.list) {
    ctx.strokeStyle = ctx.fillStyle = colour(iconColor)
    ctx.globalAlpha = 0.12
    // Those of many series lie on each other: shaded once.
    const most = regions.reduce((all, [from, to]) => {
      const other = all.find((it) => from <= it[1] && to >= it[0])
      if (other) [other[0], other[1]] = [Math.min(from, other[0]), Math.max(to, other[1])]
      else all.push([from, to])
      return all
    }, [])
    for (const [from, to] of most) ctx.fillRect(at(from), bbox.top, at(to) - at(from), bbox.height)
    ctx.globalAlpha = 0.8
    for (const moment of moments) {
      ctx.beginPath()
      ctx.moveTo(at(moment), bbox.top)
      ctx.lineTo(at(moment), bbox.top + bbox.height)
      ctx.stroke()
    }
  }
  ctx.restore()
}

function Stat({ panel, width, height }) {
  const { graphMode, textMode } = panel.options
  const each = frames(panel)
  return (
    <div style={{ display: 'flex', gap: 4 }}>
      {each.map((frame, at) => {
        const [time, field] = frame.fields
        const value = field.values.findLast((it) => it !== null)
        const shown = {
          ...field.display(value),
          title: each.length > 1 || textMode === 'name' ? field.state.displayName : undefined,
        }
        const sparkline =
          graphMode === 'area'
            ? {
                x: time,
                y: { ...field, config: { ...field.config, custom: {} } },
                timeRange: { from: dateTime(board.from), to: dateTime(board.to) },
              }
            : undefined
        return (
          <BigValue
            key={at}
            width={(width - 4 * (each.length - 1)) / each.length}
            height={height}
            value={shown}
            theme={theme}
            sparkline={sparkline}
            graphMode={graphMode}
            colorMode={panel.options.colorMode}
            textMode={textMode}
            justifyMode="auto"
            count={each.length}
          />
        )
      })}
    </div>
  )
}

const axis = { fill: theme.colors.text.secondary, fontSize: 11, fontFamily: theme.typography.fontFamily }

function Clock({ left, width, y }) {
  const step = span / 4
  return [0, 1, 2, 3, 4].map((at) => (
    <text
      key={at}
      {...axis}
      x={left + ((width - left) * at) / 4}
      y={y}
      textAnchor={at === 4 ? 'end' : at ? 'middle' : 'start'}
    >
      {new Date(board.from + step * at).toISOString().slice(11, 19)}
    </text>
  ))
}

function Heatmap({ panel, width, height }) {
  const rows = all(panel)
    .map((it) => ({ ...it, le: Number(it.labels.le.replace('+Inf', 'Infinity')) }))
    .sort((a, b) => a.le - b.le)
  const counts = rows.map((row, at) =>
    row.values.map((value, i) => (value === null ? 0 : Math.max(0, value - (rows[at - 1]?.values[i] ?? 0)))),
  )
  const most = Math.max(1e-9, ...counts.flat())
  const [left, low] = [64, height - 18]
  const cell = [(width - left) / (rows[0]?.values.length ?? 1), low / rows.length]
  const shade = (share) =>
    `rgb(${[255 - 60 * share, 230 - 190 * share, 200 - 190 * share].map(Math.round).join()})`
  const unit = panel.options.yAxis.unit
  return (
    <svg width={width} height={height}>
      {counts.map((row, y) =>
        row.map(
          (count, x) =>
            count > 1e-9 && (
              <rect
                key={`${x} ${y}`}
                x={left + x * cell[0]}
                y={low - (y + 1) * cell[1]}
                width={cell[0] + 0.5}
                height={cell[1] - 1}
                fill={shade(0.15 + (0.85 * count) / most)}
              />
            ),
        ),
      )}
      {rows.map(
        (row, y) =>
          (rows.length < 9 || y % 2 === 0) && (
            <text key={y} {...axis} x={left - 6} y={low - (y + 0.5) * cell[1] + 4} textAnchor="end">
              {Number.isFinite(row.le) ? say(unit, row.le) : 'more'}
            </text>
          ),
      )}
      <Clock left={left} width={width} y={height - 2} />
    </svg>
  )
}

function Bands({ panel, width, height }) {
  const { options } = panel.fieldConfig.defaults.mappings[0]
  const bands = all(panel)
  const [left, low] = [Math.min(220, Math.max(...bands.map((it) => it.name.length)) * 6.3 + 12), height - 40]
  const high = low / bands.length
  const words = Object.values(options)
  return (
    <svg width={width} height={height}>
      {bands.map((band, y) => {
        const runs = []
        band.values.forEach((value, at) =>
          runs.at(-1)?.value === value ? runs.at(-1).length++ : runs.push({ value, at, length: 1 }),
        )
        const step = (width - left) / band.values.length
        return (
          <g key={y}>
            <text {...axis} x={left - 8} y={(y + 0.5) * high + 4} textAnchor="end">
              {band.name}
            </text>
            {runs
              .filter((run) => run.value !== null)
              .map((run) => (
                <g key={run.at}>
                  <rect
                    x={left + run.at * step}
                    width={run.length * step}
                    y={y * high + high * 0.1}
                    height={high * 0.8}
                    fill={colour(options[run.value].color)}
                    fillOpacity={0.8}
                  />
                  {run.length * step > 60 && (
                    <text
                      x={left + run.at * step + 6}
                      y={(y + 0.5) * high + 4}
                      fontSize={11}
                      fill="#111217"
                      fontFamily={axis.fontFamily}
                    >
                      {options[run.value].text}
                    </text>
                  )}
                </g>
              ))}
          </g>
        )
      })}
      <Clock left={left} width={width} y={low + 14} />
      {words.map((word, at) => (
        <g key={at} transform={`translate(${left + at * 100},${height - 10})`}>
          <rect width={12} height={4} y={1} rx={2} fill={colour(word.color)} />
          <text {...axis} x={18} y={7}>
            {word.text}
          </text>
        </g>
      ))}
    </svg>
  )
}

function Rows({ panel }) {
  const names = [...Object.keys(all(panel)[0].labels), 'Value']
  return (
    <table style={{ width: '100%' }}>
      <thead>
        <tr>
          {names.map((it) => (
            <th key={it} style={{ padding: 6 }}>
              {it}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {all(panel).map((row, at) => (
          <tr key={at}>
            {names.map((it) => (
              <td key={it} style={{ padding: 6 }}>
                {row.labels[it] ?? say(panel.fieldConfig.defaults.unit, row.values[0])}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  )
}

const kinds = { timeseries: Lines, stat: Stat, heatmap: Heatmap, 'state-timeline': Bands, table: Rows }

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos
  const [width, height] = [w * CELL - GAP, h * (ROW + GAP) - GAP]
  const place = { position: 'absolute', left: 8 + x * CELL, top: 52 + y * (ROW + GAP), width }
  if (panel.type === 'row')
    return (
      <div style={{ ...place, lineHeight: '30px', fontSize: 16, fontWeight: 500 }}>⌄&nbsp; {panel.title}</div>
    )
  const Kind = kinds[panel.type]
  return (
    <div style={place}>
      <PanelChrome
        title={panel.title}
        width={width}
        height={height}
        padding={panel.type === 'stat' ? 'none' : 'md'}
        description={panel.description}
      >
        {(width, height) =>
          hasData(panel) ? (
            <>
              <Kind panel={panel} width={width} height={height} />
            </>
          ) : (
            <div
              style={{ display: 'grid', placeItems: 'center', height, color: theme.colors.text.secondary }}
            >
              {panel.fieldConfig.defaults.noValue ?? 'No data'}
            </div>
          )
        }
      </PanelChrome>
    </div>
  )
}

function Board() {
  const high = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * (ROW + GAP) + 60
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div
        data-drawn
        style={{
          position: 'relative',
          width: 1500,
          height: high,
          background: theme.colors.background.canvas,
        }}
      >
        <div style={{ position: 'absolute', left: 12, top: 12, fontSize: 20, fontWeight: 500 }}>
          {board.title}
        </div>
        {board.panels.map((panel) => (
          <Panel key={panel.id} panel={panel} />
        ))}
      </div>
    </ThemeContext.Provider>
  )
}

createRoot(document.getElementById('root')).render(<Board />)
