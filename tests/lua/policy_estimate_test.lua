local estimate = require 'imgtool.policy.estimate'
local map = require 'img.map'

local KiB <const>, MiB <const>, GiB <const> = 1 << 10, 1 << 20, 1 << 30
local BLOCK <const> = 256 * KiB

local function map_of(size, extents)
  local m = map.new(size)
  m:set(0, size, 'free')
  for _, extent in ipairs(extents) do m:set(extent[1], extent[2], 'data') end
  return m
end

-- The data that some windows show, and the windows by place.
local function shown(m, windows)
  local sorted, data = table.move(windows, 1, #windows, 1, {}), 0
  table.sort(sorted, function(a, b) return a.offset < b.offset end)
  for i, window in ipairs(sorted) do
    local before = sorted[i - 1]
    assert.is_true(not before or before.offset + before.length <= window.offset)
    local at, stop = window.offset, window.offset + window.length
    while at < stop do
      local _, length, kind = m:run(at)
      length = math.min(length, stop - at)
      if kind == 'data' then data = data + length end
      at = at + length
    end
  end
  return data, sorted
end

describe('imgtool.policy.estimate: windows', function()
  it('has none without data', function()
    local m <close> = map_of(1 * GiB, {})
    assert.same({}, estimate.windows(m, BLOCK))
    local empty <close> = map.new(0)
    assert.same({}, estimate.windows(empty, BLOCK))
  end)

  it('shows all of what is little, once', function()
    local m <close> = map_of(4 * GiB, { { 0, 4096 }, { 3 * MiB, 20 * MiB }, { 3 * GiB, 12288 } })
    local windows = estimate.windows(m, BLOCK)
    assert.equal(m:bytes('data'), (shown(m, windows)))
    -- Holes that are longer than a window are in none.
    for _, window in ipairs(windows) do assert.is_true(window.length <= 64 * MiB) end
  end)

  it('spreads a few evenly over much', function()
    local m <close> = map.new(16 * GiB, true)
    local windows = estimate.windows(m, BLOCK)
    assert.equal(16, #windows)
    local data, sorted = shown(m, windows)
    assert.equal(128 * MiB, data)
    for i, window in ipairs(sorted) do
      assert.is_true(math.abs(window.offset - ((i - 1) * GiB + GiB // 2)) <= 8 * MiB)
    end
  end)

  it('spreads the first ones, too: it may end at any time', function()
    local m <close> = map.new(16 * GiB, true)
    local windows = estimate.windows(m, BLOCK)
    local _, sorted = shown(m, { windows[1], windows[2], windows[3], windows[4] })
    for i = 2, 4 do
      assert.is_true(sorted[i].offset - sorted[i - 1].offset > 3 * GiB)
    end
  end)

  it('takes small pieces together, and not too far apart', function()
    local extents = {}
    for i = 0, 999 do extents[i + 1] = { i * MiB, 4096 } end
    local m <close> = map_of(1 * GiB, extents)
    local windows = estimate.windows(m, BLOCK)
    assert.equal(16, #windows)
    assert.equal(1000 * 4096, (shown(m, windows)))
  end)

  it('has windows of four blocks where blocks are large', function()
    local m <close> = map.new(16 * GiB, true)
    assert.equal(64 * MiB, estimate.windows(m, 16 * MiB)[1].length)
  end)
end)

describe('imgtool.policy.estimate', function()
  local sample = { done_bytes = 64 * MiB, stored_bytes = 16 * MiB, elapsed_ns = 500000000 }

  local function what(changes)
    local w = { read_bytes = 64 * GiB, source_bytes = 64 * GiB, chunk_bytes = 512 * MiB,
      block_bytes = BLOCK, limit = 0 }
    for key, value in pairs(changes or {}) do w[key] = value end
    return w
  end

  it('takes the ratio and the pace from the sample', function()
    local e = estimate.image(what(), sample)
    assert.equal(512, e.estimated_seconds)
    assert.equal(64 * MiB, e.sampled_bytes)
    local beside = e.estimated_bytes - 16 * GiB
    assert.is_true(beside > 0 and beside < 16 * MiB)
  end)

  it('is no faster than the limit', function()
    assert.equal(6554, math.ceil(estimate.image(what { limit = 10 * MiB }, sample)
      .estimated_seconds))
    assert.equal(512, estimate.image(what { limit = 1 * GiB }, sample).estimated_seconds)
    assert.equal(100, estimate.copy(100 * MiB, sample, MiB).estimated_seconds)
  end)

  it('counts the frames of holes', function()
    -- 200 GiB of free space in one image: 8.4 MB, measured.
    local e = estimate.image(what { source_bytes = 200 * GiB, read_bytes = 0 },
      { done_bytes = 0, stored_bytes = 0, elapsed_ns = 0 })
    assert.equal(0, e.estimated_seconds)
    assert.is_true(e.estimated_bytes > 6000000 and e.estimated_bytes < 10000000)
  end)

  it('says nothing when nothing could be read', function()
    local nothing = { done_bytes = 0, stored_bytes = 0, elapsed_ns = 5 }
    assert.same({ sampled_bytes = 0 }, estimate.image(what(), nothing))
    assert.same({ sampled_bytes = 0, estimated_bytes = 5 }, estimate.copy(5, nothing, 0))
    assert.same({ sampled_bytes = 0, estimated_bytes = 0, estimated_seconds = 0 },
      estimate.copy(0, nothing, 0))
  end)

  it('does not overflow', function()
    local e = estimate.image(what { read_bytes = 1 << 60, source_bytes = 1 << 60 }, sample)
    assert.is_true(e.estimated_bytes > 1 << 58 and e.estimated_bytes < 1 << 59)
  end)

  it('adds up; one that is unknown makes the sum unknown', function()
    local one = { estimated_bytes = 10, estimated_seconds = 1.5, sampled_bytes = 4 }
    assert.same({ estimated_bytes = 20, estimated_seconds = 3.0, sampled_bytes = 8 },
      estimate.all { one, one })
    assert.same({ sampled_bytes = 4 }, estimate.all { { sampled_bytes = 0 }, one })
    assert.same({ sampled_bytes = 4 }, estimate.all { one, { sampled_bytes = 0 } })
    assert.same({ estimated_bytes = 0, estimated_seconds = 0, sampled_bytes = 0 },
      estimate.all {})
  end)
end)
