local climb = require 'imgtool.policy.climb'

-- A machine whose rate follows from its settings, in steps of half a second.
local function simulate(rate_of, start, limits, seconds)
  local now = { state = 'running', workers = start.workers, depth = start.depth, elapsed_ns = 0,
    paused_ns = 0, done_bytes = 0 }
  local state, trace = climb.new(limits), {}
  for _ = 1, seconds * 2 do
    now.elapsed_ns = now.elapsed_ns + 500000000
    now.done_bytes = now.done_bytes + rate_of(now) // 2
    local settings = climb.step(state, now)
    if settings then
      now.workers, now.depth = settings.workers, settings.depth
      trace[#trace + 1] = { workers = settings.workers, depth = settings.depth }
    end
  end
  return now, trace
end

local LIMITS = { workers = 8, depth = 256 }

describe('imgtool.policy.climb', function()
  it('climbs to the workers that help', function()
    local now = simulate(function(n) return math.min(n.workers, 5) * 100000000 end,
      { workers = 1, depth = 16 }, LIMITS, 60)
    assert.equal(5, now.workers)
    assert.equal(16, now.depth)
  end)

  it('climbs in depth where that is what is short', function()
    local now = simulate(function(n) return math.min(n.depth, 64) * 1000000 end,
      { workers = 2, depth = 8 }, LIMITS, 60)
    assert.equal(64, now.depth)
    assert.equal(2, now.workers)
  end)

  it('goes down where workers are in each other\'s way', function()
    local now = simulate(function(n) return 900000000 // n.workers end,
      { workers = 4, depth = 16 }, LIMITS, 60)
    assert.equal(1, now.workers)
  end)

  it('stays where nothing helps, and rests', function()
    local now, trace = simulate(function() return 100000000 end, { workers = 2, depth = 16 },
      LIMITS, 55)
    assert.equal(2, now.workers)
    assert.equal(16, now.depth)
    -- A trial in each direction and the way back: nothing more while it rests.
    assert.is_true(#trace <= 6, #trace)
    assert.is_true(#trace >= 3, #trace)
  end)

  it('looks again after its rest, because data changes', function()
    local function rate(n)
      if n.elapsed_ns < 40e9 then return 100000000 end
      return n.workers * 100000000
    end
    assert.equal(8, (simulate(rate, { workers = 1, depth = 16 }, LIMITS, 240)).workers)
  end)

  it('keeps to its limits', function()
    local _, trace = simulate(function(n) return n.workers * n.depth * 100000 end,
      { workers = 1, depth = 2 }, LIMITS, 300)
    assert.is_true(#trace > 5)
    for _, settings in ipairs(trace) do
      assert.is_true(settings.workers >= 1 and settings.workers <= 8, settings.workers)
      assert.is_true(settings.depth >= 2 and settings.depth <= 256, settings.depth)
    end
    assert.equal(8, trace[#trace].workers)
    assert.equal(256, trace[#trace].depth)
  end)

  it('does nothing while a job is paused', function()
    local state = climb.new(LIMITS)
    for i = 1, 100 do
      assert.is_nil(climb.step(state, { state = 'paused', workers = 1, depth = 4,
        elapsed_ns = i * 1000000000, paused_ns = 0, done_bytes = 0 }))
    end
  end)
end)
