local tuning = require 'imgtool.policy.tuning'

local KiB <const>, MiB <const>, GiB <const>, TiB <const> = 1 << 10, 1 << 20, 1 << 30, 1 << 40

local function facts(changes)
  local f = { cores = 8, memory_bytes = 8 * GiB, source_bytes = 1 * TiB }
  for key, value in pairs(changes or {}) do f[key] = value end
  return f
end

describe('imgtool.policy.tuning', function()
  it('has the documented defaults on an ordinary machine', function()
    assert.same({ block_bytes = 256 * KiB, chunk_bytes = 512 * MiB, workers = 4, depth = 64 },
      tuning.choose(facts(), {}))
  end)

  it('takes workers from the cores, at most four', function()
    assert.equal(1, tuning.choose(facts { cores = 1 }, {}).workers)
    assert.equal(2, tuning.choose(facts { cores = 2 }, {}).workers)
    assert.equal(4, tuning.choose(facts { cores = 96 }, {}).workers)
    assert.equal(1, tuning.choose(facts { cores = 0 }, {}).workers)
  end)

  it('takes smaller chunks from a small source', function()
    local function chunk(source_bytes)
      return tuning.choose(facts { source_bytes = source_bytes }, {}).chunk_bytes
    end
    assert.equal(16 * MiB, chunk(0))
    assert.equal(16 * MiB, chunk(64 * MiB))
    assert.equal(64 * MiB, chunk(1 * GiB))
    assert.equal(256 * MiB, chunk(4 * GiB))
    assert.equal(512 * MiB, chunk(8 * GiB))
    assert.equal(512 * MiB, chunk(100 * TiB))
  end)

  it('takes larger chunks where there would be too many', function()
    local chunk = tuning.choose(facts { source_bytes = 1024 * TiB }, {}).chunk_bytes
    assert.equal(1 * GiB, chunk)
    local large = tuning.choose(facts { source_bytes = 4096 * TiB }, { block_size = 16 * MiB })
    assert.equal(4 * GiB, large.chunk_bytes)
  end)

  it('keeps to the blocks that a chunk may have', function()
    for _, block in ipairs { 64 * KiB, 256 * KiB, 1 * MiB, 16 * MiB } do
      local settings = tuning.choose(facts(), { block_size = block })
      assert.is_true(settings.chunk_bytes // block <= 65536)
      assert.equal(0, settings.chunk_bytes % block)
    end
    assert.equal(256 * MiB, tuning.chunk_bytes { source_bytes = TiB, block_bytes = 4 * KiB,
      budget_bytes = GiB })
  end)

  it('takes smaller chunks and less depth where memory is short', function()
    local small = tuning.choose(facts { memory_bytes = 4 * MiB }, {})
    assert.equal(64 * MiB, small.chunk_bytes)
    assert.equal(2, small.depth)
    local none = tuning.choose(facts { memory_bytes = 0 }, {})
    assert.equal(1 * MiB, none.chunk_bytes) -- for 1 TiB in at most 1048576 chunks
    assert.equal(2, none.depth)
  end)

  it('keeps all blocks in flight within a quarter of memory', function()
    for _, memory in ipairs { 64 * MiB, 256 * MiB, 1 * GiB, 64 * GiB } do
      for _, block in ipairs { 64 * KiB, 256 * KiB, 4 * MiB, 16 * MiB } do
        local s = tuning.choose(facts { memory_bytes = memory }, { block_size = block })
        assert.is_true(s.depth * 2 * block <= math.max(memory // 4, 4 * block), s.depth)
        assert.is_true(s.depth >= 2 and s.depth <= 1024)
      end
    end
  end)

  it('gives each worker two blocks', function()
    assert.equal(130, tuning.choose(facts { memory_bytes = 64 * GiB }, { workers = 64 }).depth)
    assert.equal(256, tuning.choose(facts(), { block_size = 64 * KiB }).depth)
  end)

  it('does what was asked', function()
    assert.same({ block_bytes = 64 * KiB, chunk_bytes = 1 * MiB, workers = 9, depth = 5 },
      tuning.choose(facts(), { block_size = 64 * KiB, chunk_size = 1 * MiB, workers = 9,
        pipeline_depth = 5 }))
  end)

  it('refuses chunks that can\'t be', function()
    local cases = {
      { { chunk_size = 100000 }, 'is no multiple of the block size 256K' },
      { { chunk_size = 64 * KiB }, 'is no multiple of the block size 256K' },
      { { chunk_size = 4 * GiB + 64 * KiB, block_size = 64 * KiB }, 'has more than 65536 blocks' },
      { { chunk_size = 256 * KiB }, 'gives more than 1048576 chunks' },
    }
    for _, case in ipairs(cases) do
      local settings, reason = tuning.choose(facts(), case[1])
      assert.is_nil(settings)
      assert.matches(case[2], reason, 1, true)
    end
  end)

  it('lets a strategy change live settings only', function()
    assert.is_nil(tuning.check_answer(nil))
    assert.is_nil(tuning.check_answer {})
    assert.same({ workers = 3, depth = 9, max_bytes_per_s = 0 },
      tuning.check_answer { workers = 3, depth = 9.0, max_bytes_per_s = 0 })
    assert.same({ workers = 64, depth = 1024 }, tuning.check_answer { workers = 99, depth = 1e6 })
    local cases = {
      { 7, 'gives a table or nil' }, { { level = 3 }, "'level' is no live setting" },
      { { workers = 0 }, 'workers: 0 is no setting' },
      { { depth = 1.5 }, 'depth: 1.5 is no setting' },
      { { depth = 'x' }, 'depth: x is no setting' },
    }
    for _, case in ipairs(cases) do
      local settings, message = tuning.check_answer(case[1])
      assert.is_nil(settings)
      assert.matches(case[2], message, 1, true)
    end
  end)
end)
