-- luacheck of lua/, tests/lua/, examples/ and the Lua scripts; run by `make lint`.
std = 'lua54'
max_line_length = false -- scripts/check-style counts columns
codes = true
-- The stubs of the C modules only declare: their parameters are there to be read.
files['lua/imgtool/meta'] = { unused = false, unused_args = false, ignore = { '241' } }
files['tests/lua'] = { std = 'lua54+busted' }
-- Job scripts see these words only: lua/imgtool/job/words.lua.
stds.job_script = {
  read_globals = {
    '_VERSION', 'assert', 'error', 'ipairs', 'next', 'pairs', 'select', 'tonumber', 'tostring',
    'type', 'print', 'args', 'date', 'disk', 'disks',
    'KiB', 'MiB', 'GiB', 'TiB', 'second', 'minute', 'hour', 'day', 'week',
    job = { fields = { 'try' } },
    string = { other_fields = true }, table = { other_fields = true },
    math = { other_fields = true }, utf8 = { other_fields = true },
  },
}
files['examples'] = { std = 'job_script' }
