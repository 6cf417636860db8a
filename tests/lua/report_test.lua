local json = require 'imgtool.util.json'
local progress = require 'imgtool.report.progress'
local report = require 'imgtool.report'
local report_json = require 'imgtool.report.json'
local text = require 'imgtool.report.text'

local function snapshot(changes)
  local now = { state = 'running', workers = 4, depth = 64, level = 3, max_bytes_per_s = 0,
    total_bytes = 2000 << 20, done_bytes = 500 << 20, position = 3000 << 20, data_bytes = 400 << 20,
    zero_bytes = 100 << 20, free_bytes = 1000 << 20, bad_bytes = 0, bad_count = 0,
    stored_bytes = 200 << 20, rate_bytes_per_s = 100 << 20, elapsed_ns = 5000000000, paused_ns = 0 }
  for key, value in pairs(changes or {}) do now[key] = value end
  return now
end

describe('imgtool.report.progress', function()
  it('counts the bytes that will really be read', function()
    assert.equal(25, progress.percent(snapshot()))
    local nothing = { total_bytes = 0, done_bytes = 0, state = 'done' }
    assert.equal(100, progress.percent(snapshot(nothing)))
    assert.equal(0, progress.percent(snapshot { total_bytes = 0, done_bytes = 0 }))
  end)

  it('is one line', function()
    assert.equal('image  25.0 %  500.0 MiB of 1.95 GiB  100.0 MiB/s  ETA 15.0 s  packed 200.0 MiB'
      .. ' (2.0:1)  4 workers, depth 64', progress.line('image', snapshot()))
    assert.equal('verify  25.0 %  500.0 MiB of 1.95 GiB  0 B/s  packed 0 B  4.00 KiB BAD  1 worker,'
      .. ' depth 2  paused', progress.line('verify', snapshot { rate_bytes_per_s = 0,
        state = 'paused', stored_bytes = 0, bad_bytes = 4096, workers = 1, depth = 2 }))
  end)

  it('keeps to the width of the terminal', function()
    local line = progress.line('image', snapshot())
    assert.equal('\r' .. line:sub(1, 39) .. '\27[K', progress.on_terminal(line, 40))
    assert.equal('\r' .. line .. '\27[K', progress.on_terminal(line, 400))
  end)
end)

describe('imgtool.report.json', function()
  it('gives objects, one a line', function()
    assert.equal('{"event":"note","text":"a\\nb"}\n', report_json.line('note', { text = 'a\nb' }))
    local line = report_json.progress('image', snapshot())
    assert.equal(1, select(2, line:gsub('\n', '')))
    local object = json.decode(line)
    assert.equal('progress', object.event)
    assert.equal('image', object.action)
    assert.equal(25, object.percent)
    assert.equal(15, object.eta_s)
    assert.equal(500 << 20, object.done_bytes)
  end)
end)

describe('imgtool.report.text', function()
  it('lets no control character through', function()
    assert.equal('a?[2Jb?c', text.clean('a\27[2Jb\nc'))
    assert.equal('x?y', text.clean('x\u{9B}y'))
    assert.equal('ä', text.clean('ä'))
  end)

  it('cleans what an image says in a dry run, and names of files', function()
    local planned = { action = 'restore', dry_run = true, plan = { 'write \27a' }, refusals = {
      { rule = 'R5', reason = "serial 'S\27]0;x\a'", override = 'force' } } }
    assert.equal("would write ?a\nrefused (R5): serial 'S?]0;x?' (--force allows it)",
      text.result(planned))
    assert.equal('would verify 5 % of a?b', text.result { action = 'verify', dry_run = true,
      sample_percent = 5, image = 'a\27b' })
  end)

  it('shows the page of an image whose time is out of range', function()
    local page = text.info { head = {}, image = 'x', version = '2.0', uuid = 'U', chunks = 1,
      created_s = math.maxinteger, source_bytes = 1, logical_bytes = 512, physical_bytes = 512,
      block_bytes = 65536, chunk_bytes = 65536, data_bytes = 1, zero_bytes = 0, free_bytes = 0,
      bad_bytes = 0, file_bytes = 1, hash = 'sha256', root = 'R', bad_range_count = 0 }
    assert.matches('created +9223372036854775807 s since 1970\n', page)
  end)

  it('aligns columns', function()
    assert.equal('A      B\nlong   1\nä     22', text.table({ { 'A', 'B' }, { 'long', '1' },
      { 'ä', '22' } }, { [2] = true }))
  end)

  it('names the first losses and counts all', function()
    assert.same({ '  at 4096, 512 bytes: why?', '  and 6 more' },
      text.losses({ { offset = 4096, length = 512, why = 'why\n' } }, 7))
  end)
end)

describe('imgtool.report', function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function logged()
    local file <close> = assert(io.open(path))
    return file:read('a')
  end

  it('logs messages with the time, one a line', function()
    local r = assert(report.new { quiet = true, log_file = path })
    r:note('a\27note')
    r:progress('image', snapshot(), true)
    r:answer('image', {}, 'answer\n  more')
    r:close()
    local lines = {}
    for line in logged():gmatch('[^\n]+') do
      lines[#lines + 1] = assert(line:match('^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ (.*)$'))
    end
    assert.same({ 'a?note', progress.line('image', snapshot()), 'answer; more' }, lines)
  end)

  it('logs progress every five seconds, not each time', function()
    local r = assert(report.new { quiet = true, log_file = path })
    r:start()
    for i = 1, 100 do r:progress('image', snapshot { elapsed_ns = i * 200000000 }) end
    r:close()
    assert.equal(4, select(2, logged():gsub('\n', '')))
  end)

  it('says what is wrong with a log', function()
    local r, message, code = report.new { log_file = '/nonexistent/log' }
    assert.is_nil(r)
    assert.matches('/nonexistent/log', message, 1, true)
    assert.equal(6, code)
  end)
end)
