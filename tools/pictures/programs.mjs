// The programs, found as tools/bootstrap finds them.
import { existsSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'

const known = {
  // The last one is Debian's name for the server that comes without a service.
  redis: ['TRUNKLINE_REDIS_SERVER', 'redis-server', 'valkey-server', 'redis-check-rdb'],
  prometheus: ['TRUNKLINE_PROMETHEUS', 'prometheus'],
  chromium: ['CHROME', 'chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
}

/** The path of a program. */
export function program(name) {
  const [variable, ...names] = known[name]
  const places = [...process.env.PATH.split(delimiter), resolve(import.meta.dirname, '../../.tools/bin')]
  const found =
    process.env[variable] || names.flatMap((it) => places.map((place) => join(place, it))).find(existsSync)
  if (!found) throw new Error(`needs ${names[0]}: run tools/bootstrap test, or set ${variable}`)
  return found
}
