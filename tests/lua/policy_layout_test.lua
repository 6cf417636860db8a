local layout = require 'imgtool.policy.layout'

local function range(offset, length) return { offset = offset, length = length } end

describe('imgtool.policy.layout', function()
  it('finds what is outside', function()
    assert.same({ range(0, 100) }, layout.outside(100, {}))
    assert.same({}, layout.outside(100, { range(0, 100) }))
    assert.same({}, layout.outside(0, {}))
    assert.same({ range(0, 10), range(30, 20), range(60, 40) },
      layout.outside(100, { range(50, 10), range(10, 15), range(20, 10) }))
    assert.same({ range(0, 10) }, layout.outside(100, { range(10, 500) }))
    assert.same({ range(0, 40) }, layout.outside(40, { range(50, 10) }))
    assert.same({ range(0, 5), range(6, 4) }, layout.outside(10, { range(5, 1), range(7, 0) }))
  end)

  it('covers every byte once', function()
    math.randomseed(7)
    for _ = 1, 200 do
      local ranges, inside = {}, {}
      for i = 1, math.random(0, 6) do ranges[i] = range(math.random(0, 60), math.random(0, 20)) end
      for _, r in ipairs(ranges) do
        for at = r.offset, r.offset + r.length - 1 do inside[at] = true end
      end
      local size, last = math.random(0, 64), -1
      for _, r in ipairs(layout.outside(size, ranges)) do
        assert.is_true(r.offset > last and r.length > 0)
        for at = r.offset, r.offset + r.length - 1 do
          assert.is_nil(inside[at])
          inside[at] = true
        end
        last = r.offset + r.length
        assert.is_true(last <= size)
      end
      for at = 0, size - 1 do assert.is_true(inside[at]) end
    end
  end)

  local PARTS = {
    { index = 1, start_bytes = 100, size_bytes = 50 },
    { index = 2, start_bytes = 200, size_bytes = 100, container = true },
    { index = 5, start_bytes = 210, size_bytes = 50 },
    { index = 6, start_bytes = 270, size_bytes = 30 },
  }

  it('knows where partitions are', function()
    assert.same({ range(100, 50), range(210, 50), range(270, 30) }, layout.of_partitions(PARTS))
    assert.equal(300, layout.end_of(PARTS))
    assert.equal(0, layout.end_of {})
    assert.is_nil(layout.touched(PARTS, { range(0, 100), range(150, 60), range(260, 10) }))
    assert.equal(1, layout.touched(PARTS, { range(0, 101) }).index)
    assert.equal(5, layout.touched(PARTS, { range(259, 1) }).index)
  end)

  it('knows how much room the backup of a GPT takes', function()
    local areas = { range(0, 512), range(512, 512), range(1024, 16384), range(9000064, 16384),
      range(9016448, 512) }
    assert.equal(8016896, layout.with_backup(8000000, areas, 512))
    assert.equal(8017408, layout.with_backup(8000001, areas, 512))
  end)
end)
