-- luacheck of lua/, tests/lua/, examples/ and the Lua scripts; run by `make lint`.
std = 'lua54'
max_line_length = false -- scripts/check-style counts columns
codes = true
-- The stubs of the C modules only declare: their parameters are there to be read.
files['lua/imgtool/meta'] = { unused = false, unused_args = false, ignore = { '241' } }
files['tests/lua'] = { std = 'lua54+busted' }
-- Job files run in an environment of their own, with the words of job/load.lua.
files['examples'] = {
  read_globals = {
    'job', 'policy', 'KiB', 'MiB', 'GiB', 'TiB', 'second', 'minute', 'hour', 'day', 'week',
  },
}
