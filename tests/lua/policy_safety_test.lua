local safety = require 'imgtool.policy.safety'

local IMAGE = { path = 'x.img.zst', source_bytes = 1000448, logical_bytes = 512, serial = 'S1',
  wwn = 'W1', part_guid = 'G1' }

local function target(changes)
  local t = { path = '/dev/sdb2', name = 'sdb2', kind = 'partition', type = 'block',
    size_bytes = 1000448, logical_bytes = 512, serial = 'S1', wwn = 'W1', part_guid = 'G1',
    model = 'Disk', read_only = false, holders = '', in_use = false, partial = '/dev/sdb2.partial',
    undo_dir = '/undo/sdb2', contents = { "sdb2: ext4 'old'" } }
  for key, value in pairs(changes or {}) do t[key] = value end
  return t
end

local function file(changes)
  local t = { path = 'out.raw', type = 'none', partial = 'out.raw.partial', partial_exists = false,
    holders = '', in_use = false }
  for key, value in pairs(changes or {}) do t[key] = value end
  return t
end

local CONFIRMED = { yes_destroy = 'sdb2', free = 'discard' }
local ALL = { yes_destroy = 'sdb2', force = true, free = 'discard' }

local function decide(t, rules, image)
  return safety.restore({ image = image or IMAGE, target = t }, rules)
end

local function refused(t, rules, rule, reason, override)
  local d = decide(t, rules)
  assert.is_false(d.allowed)
  assert.equal(1, #d.refusals)
  assert.equal(rule, d.refusals[1].rule)
  assert.matches(reason, d.refusals[1].reason, 1, true)
  assert.equal(override, d.refusals[1].override)
end

describe('imgtool.policy.safety, restore', function()
  it('R4: overwrites a device only when its name is said', function()
    refused(target(), { free = 'discard' }, 'R4', '/dev/sdb2 would be overwritten',
      'yes-destroy S1')
    refused(target(), { free = 'discard', force = true }, 'R4', 'would be overwritten',
      'yes-destroy S1')
    refused(target(), { free = 'discard', yes_destroy = 'sdb' }, 'R4',
      "'sdb' is not its name, serial number or WWN", 'yes-destroy S1')
    refused(target { serial = '' , wwn = '' }, { force = true, yes_destroy = '' , free = 'leave' },
      'R4', 'would be overwritten', 'yes-destroy sdb2')
    for _, name in ipairs { 'sdb2', '/dev/sdb2', 'S1', 'W1' } do
      assert.is_true(decide(target(), { yes_destroy = name, free = 'discard' }).allowed, name)
    end
  end)

  -- LESSONS 37: not after what was there is gone.
  it('R4: does not begin what bad ranges will end', function()
    local bad = setmetatable({ bad_range_bytes = 4096 }, { __index = IMAGE })
    local rules = { yes_destroy = 'sdb2', free = 'discard', on_read_error = 'abort' }
    local d = decide(target(), rules, bad)
    assert.is_false(d.allowed)
    assert.same({ rule = 'R4', override = 'on-read-error zero',
      reason = 'x.img.zst: 4096 bytes could not be read when it was imaged' }, d.refusals[1])
    assert.is_false(decide(target(), ALL, bad).allowed)
    assert.is_true(decide(file(), { free = 'leave', on_read_error = 'abort' }, bad).allowed)
    rules.on_read_error = 'zero'
    d = decide(target(), rules, bad)
    assert.is_true(d.allowed)
    assert.matches('4096 bytes', d.warnings[1], 1, true)
  end)

  it('R4: never restores to a smaller device', function()
    refused(target { size_bytes = 1000447 }, ALL, 'R4', 'too small')
  end)

  it('R4: a larger device, another disk and other sectors need --force', function()
    local cases = {
      { { size_bytes = 1000960 }, 'is larger' },
      { { logical_bytes = 4096 }, 'has sectors of 4096 bytes, the source had 512' },
      { { serial = 'S2' }, "is another device: serial number 'S2', the image was taken from 'S1'" },
      { { serial = '' }, 'is another device' },
      { { wwn = 'W2' }, 'is another device: WWN' },
      { { part_guid = 'G2' }, 'is another device: partition GUID' },
    }
    for _, case in ipairs(cases) do
      refused(target(case[1]), CONFIRMED, 'R4', case[2], 'force')
      assert.is_true(decide(target(case[1]), ALL).allowed, case[2])
    end
    assert.matches('another device', decide(target { serial = 'S2' }, ALL).warnings[1], 1, true)
  end)

  it('R4: an image without identity needs no --force', function()
    local of_file = { path = 'x', source_bytes = 1000448, logical_bytes = 512 }
    assert.is_true(decide(target(), CONFIRMED, of_file).allowed)
    assert.is_nil(safety.same_identity(of_file, target()))
    assert.is_true(safety.same_identity(IMAGE, target()))
  end)

  it('R5: never writes to what is in use, not even with --force', function()
    refused(target { in_use = true, holders = 'mounted at /mnt\nswap\n' }, ALL, 'R5',
      '/dev/sdb2 is in use: mounted at /mnt; swap')
    refused(target { is_image = true }, ALL, 'R5', 'is the image itself')
    refused(target { holds_image = true }, ALL, 'R5', 'holds the image')
    refused(target { read_only = true }, ALL, 'R5', 'is read-only')
    refused(target { undo_on_target = true }, ALL, 'R4', 'the undo copies on it: /undo/sdb2',
      'undo-dir')
    refused(file { type = 'file', in_use = true, holders = 'loop0' }, ALL, 'R5', 'in use: loop0')
    refused(file { type = 'file', is_image = true }, ALL, 'R5', 'is the image itself')
    refused(file { type = 'directory' }, ALL, 'R4', 'neither a block device nor a file')
    refused(file { type = 'char' }, ALL, 'R4', 'neither a block device nor a file')
  end)

  it('R8: replaces a file only with --force', function()
    assert.is_true(decide(file(), { free = 'leave' }).allowed)
    refused(file { type = 'file' }, { free = 'leave' }, 'R8', 'out.raw exists', 'force')
    refused(file { partial_exists = true }, { free = 'leave' }, 'R8', 'out.raw.partial exists',
      'force')
    assert.is_true(decide(file { type = 'file', partial_exists = true }, ALL).allowed)
  end)

  it('R4: has nothing to compare a new file with', function()
    local changed = { only_changed = true, force = true, free = 'leave' }
    refused(file(), changed, 'R4', 'nothing to compare with')
    assert.is_true(decide(file { type = 'file' }, changed).allowed)
    assert.is_true(decide(file { partial_exists = true }, changed).allowed)
  end)

  it('knows when only the name is missing', function()
    assert.is_true(safety.only_unconfirmed(decide(target(), { free = 'discard' })))
    assert.is_false(safety.only_unconfirmed(decide(target(), CONFIRMED)))
    assert.is_false(safety.only_unconfirmed(decide(target { size_bytes = 1000960 },
      { free = 'discard' })))
    assert.is_false(safety.only_unconfirmed(decide(target { in_use = true }, { free = 'leave' })))
  end)

  it('names all reasons in one line', function()
    local d = decide(target { in_use = true, holders = 'swap', size_bytes = 5 }, { free = 'leave' })
    assert.equal(3, #d.refusals)
    assert.equal('/dev/sdb2 is in use: swap; /dev/sdb2 is too small: 5 bytes, the image has'
      .. ' 1000448; /dev/sdb2 would be overwritten (--yes-destroy S1 allows it)', safety.reasons(d))
  end)

  it('says what it would do', function()
    assert.same({ 'restore 977.0 KiB from x.img.zst',
      'overwrite /dev/sdb2 (Disk, S1, 977.0 KiB)', "lose sdb2: ext4 'old'",
      'keep its first and last MiB in /undo/sdb2',
      'free space of the file system is discarded where the device can, else left as it is',
    }, decide(target(), CONFIRMED).plan)
    assert.same({ 'restore 977.0 KiB from x.img.zst',
      'write out.raw.partial, and rename it to out.raw when it is complete',
    }, decide(file(), { free = 'leave' }).plan)
  end)
end)

describe('imgtool.policy.safety, image files', function()
  local function image_file(changes, rules)
    local facts = { path = 'x', type = 'none', partial = 'x.partial', partial_type = 'none',
      is_source = false }
    for key, value in pairs(changes) do facts[key] = value end
    return safety.image_file(facts, rules)
  end
  local NONE, FORCE, RESUME = {}, { force = true }, { resume = true }

  it('R8: makes a new one only where there is none', function()
    assert.equal('create', image_file({}, NONE))
    assert.equal('create', image_file({ type = 'file' }, FORCE))
    local action, reason, word = image_file({ type = 'file' }, NONE)
    assert.same({ nil, 'x exists (--force replaces it)', 'refused' }, { action, reason, word })
  end)

  it('R8: does not lose an incomplete one', function()
    local action, reason, word = image_file({ partial_type = 'file' }, NONE)
    assert.is_nil(action)
    assert.equal('refused', word)
    assert.matches('--resume goes on with it, --force begins anew', reason, 1, true)
    assert.equal('restart', image_file({ partial_type = 'file' }, FORCE))
    assert.equal('resume', image_file({ partial_type = 'file' }, RESUME))
    assert.equal('resume', image_file({ partial_type = 'file' }, { resume = true, force = true }))
  end)

  it('has nothing to resume where nothing is', function()
    assert.equal('not_found', select(3, image_file({}, RESUME)))
    assert.equal('refused', select(3, image_file({ type = 'file', partial_type = 'file' }, RESUME)))
  end)

  it('never writes over the source, or into what is no file', function()
    assert.equal('refused', select(3, image_file({ type = 'file', is_source = true }, FORCE)))
    for _, kind in ipairs { 'block', 'char', 'fifo', 'directory' } do
      assert.equal('usage', select(3, image_file({ type = kind }, FORCE)), kind)
      assert.equal('usage', select(3, image_file({ partial_type = kind }, FORCE)), kind)
    end
  end)
end)
