local json = require 'imgtool.util.json'
local stored = require 'imgtool.job.stored'

local HEAD = {
  source = { serial = 'S1', wwn = '0x5', partition = { guid = 'G1' } },
  settings = { level = 3, on_read_error = 'zero', block_bytes = 7, hash = 'lies' },
}

-- HEAD as img.image tells it, with this text.
local function head_of(text)
  return { text = text, hash = 'sha256', uuid = 'U', created_s = 5, block_bytes = 65536,
    chunk_bytes = 1 << 20 }
end

-- Texts that are none, and texts in which things have another type.
local HOSTILE = {
  '', '{', 'null', '[]', '5', '"x"', '{}', '\255', ('['):rep(100000), '{"source":5,"settings":7}',
  '{"source":[],"settings":[]}', '{"source":{"serial":{},"wwn":5,"partition":"x"}}',
  '{"settings":{"level":"x","on_read_error":"zero"}}',
  '{"settings":{"level":3,"on_read_error":5}}', '{"settings":{"level":99,"on_read_error":"zero"}}',
  '{"settings":{"level":3.5,"on_read_error":"abort"}}',
  '{"settings":{"level":[],"on_read_error":[]}}',
}

describe('imgtool.job.stored', function()
  it('tells what names the source', function()
    assert.same({ serial = 'S1', wwn = '0x5', part_guid = 'G1' }, stored.source(json.encode(HEAD)))
    for _, text in ipairs(HOSTILE) do assert.same({}, stored.source(text)) end
  end)

  it('tells the settings, numbers from HEAD and not from its text', function()
    local settings, decoded = stored.settings(head_of(json.encode(HEAD)))
    assert.same({ level = 3, on_read_error = 'zero', hash = 'sha256', uuid = 'U', created = 5,
      block_bytes = 65536, chunk_bytes = 1 << 20, mode = 'used_only' }, settings)
    assert.equal('S1', decoded.source.serial)
    for _, text in ipairs(HOSTILE) do assert.is_nil((stored.settings(head_of(text)))) end
  end)

  it('tells which blocks were asked for, and by the reason where an old image does not', function()
    local function mode_of(mode, map)
      local text = json.encode { map = map,
        settings = { level = 3, on_read_error = 'zero', mode = mode } }
      return stored.settings(head_of(text)).mode
    end
    assert.equal('all_blocks', mode_of('all_blocks', { kind = 'all', reason = 'x' }))
    assert.equal('used_only', mode_of('used_only', { kind = 'all', reason = 'asked for' }))
    assert.equal('all_blocks', mode_of(nil, { kind = 'all', reason = 'asked for' }))
    assert.equal('used_only', mode_of(nil, { kind = 'all', reason = 'no file system' }))
    for _, wrong in ipairs { 5, 'x', {} } do assert.equal('used_only', mode_of(wrong, 7)) end
  end)

  it('tells the numbers and ranges of a result', function()
    local numbers, ranges = stored.result('{"result":{"frames":7,"ratio":1.5,"x":"y","n":-1,'
      .. '"bad_ranges":[[512,1024],[5],[1.5,2],["a","b"],7,[4096,512]],"bad_range_count":9}}')
    assert.same({ frames = 7, bad_range_count = 9 }, numbers)
    assert.equal('[[512,1024],[4096,512]]', json.encode(ranges))
    for _, text in ipairs { '', '{}', '{"result":5}', '{"result":{"bad_ranges":{"a":1}}}',
      '{"result":{"bad_ranges":"x","bad_range_count":"x"}}', '[1]' } do
      numbers, ranges = stored.result(text)
      assert.same({}, numbers)
      assert.equal('[]', json.encode(ranges))
    end
  end)
end)
