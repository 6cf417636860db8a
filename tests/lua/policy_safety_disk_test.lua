local safety = require 'imgtool.policy.safety_disk'

local function with(t, changes)
  for key, value in pairs(changes or {}) do t[key] = value end
  return t
end

local function source(changes)
  return with({ path = '/sets/a', size_bytes = 10240000, logical_bytes = 512, serial = 'S1',
    wwn = 'W1', disk_id = 'D1', table = 'gpt', whole_copy = true, need_bytes = 8000000,
    need_what = 'partition 2 ends there', partitions = {
      { what = 'partition 1 (vfat)', start_bytes = 1024, size_bytes = 2048 } } }, changes)
end

local function target(changes)
  return with({ path = '/dev/sdb', name = 'sdb', kind = 'disk', type = 'block',
    size_bytes = 10240000, logical_bytes = 512, serial = 'S1', wwn = 'W1', disk_id = 'd1',
    model = '', read_only = false, holders = '', in_use = false, partial = '/dev/sdb.partial',
    contents = { 'a gpt table', "sdb1: ext4 'old'" }, undo_dir = '/undo/sdb' }, changes)
end

local function file(changes)
  return with({ path = 'out.raw', type = 'none', partial = 'out.raw.partial', holders = '',
    partial_exists = false, in_use = false, size_bytes = 10240000, logical_bytes = 512 }, changes)
end

local CONFIRMED = { yes_destroy = 'sdb', free = 'discard' }
local ALL = { yes_destroy = 'sdb', force = true, free = 'discard' }

local function decide(t, rules, s)
  return safety.restore({ source = s or source(), target = t }, rules)
end

local function refused(t, rules, rule, reason, override, s)
  local d = decide(t, rules, s)
  assert.is_false(d.allowed)
  assert.equal(1, #d.refusals, reason)
  assert.equal(rule, d.refusals[1].rule)
  assert.matches(reason, d.refusals[1].reason, 1, true)
  assert.equal(override, d.refusals[1].override)
end

describe('imgtool.policy.safety_disk', function()
  -- LESSONS 37: not after what was there is gone.
  it('R4: does not begin what bad ranges will end', function()
    local bad = source { bad_range_bytes = 512 }
    refused(target(), CONFIRMED, 'R4', '/sets/a: 512 bytes could not be read when it was imaged',
      'on-read-error zero', bad)
    assert.is_true(decide(target(), with({ on_read_error = 'zero' }, CONFIRMED), bad).allowed)
    assert.is_true(decide(file(), {}, bad).allowed)
  end)

  it('R4: overwrites the disk that was imaged when its name is said', function()
    assert.is_true(decide(target(), CONFIRMED).allowed)
    assert.is_true(decide(target { disk_id = '' }, CONFIRMED).allowed)
    refused(target(), { free = 'leave' }, 'R4', 'would be overwritten', 'yes-destroy S1')
    refused(target(), { free = 'leave', yes_destroy = 'sda', force = true }, 'R4',
      "'sda' is not its name", 'yes-destroy S1')
  end)

  it('R4: another disk and another size need --force', function()
    local cases = {
      { { serial = 'S2' }, "is another disk: serial number 'S2'" },
      { { wwn = 'W2' }, 'is another disk: WWN' },
      { { disk_id = 'D2' }, "is another disk: disk ID 'D2', that of the source is 'D1'" },
      { { size_bytes = 10240512 }, 'is larger: 10240512 bytes, the source has 10240000' },
      { { size_bytes = 9000000 }, 'is smaller: 9000000 bytes, the source has 10240000' },
      { { size_bytes = 8000000 }, 'is smaller' },
    }
    for _, case in ipairs(cases) do
      refused(target(case[1]), CONFIRMED, 'R4', case[2], 'force')
      assert.is_true(decide(target(case[1]), ALL).allowed, case[2])
    end
    assert.matches('another disk', decide(target { wwn = 'W2' }, ALL).warnings[1], 1, true)
    assert.is_true(decide(target { serial = 'S2' },
      with({ any_disk = true }, CONFIRMED)).allowed)
  end)

  it('R4: never where what is used does not fit', function()
    refused(target { size_bytes = 7999999 }, ALL, 'R4', '/dev/sdb is too small: 7999999 bytes; the'
      .. ' source has 10240000, and needs 8000000 (partition 2 ends there)')
    refused(file { size_bytes = 7999999 }, ALL, 'R4', 'is too small')
  end)

  it('R4: never onto sectors of another size, nor a part of a disk', function()
    refused(target { logical_bytes = 4096 }, ALL, 'R4', 'has sectors of 4096 bytes')
    refused(target { kind = 'partition' }, ALL, 'R4', 'is a partition, not a disk')
    local none = source { table = 'none' }
    refused(target { logical_bytes = 4096 }, CONFIRMED, 'R4', 'has sectors of 4096', 'force', none)
    assert.is_true(decide(target { logical_bytes = 4096 }, ALL, none).allowed)
  end)

  it('R4: a table that is not whole goes as it is or not at all', function()
    local broken = source { whole_copy = false }
    assert.is_true(decide(target(), CONFIRMED, broken).allowed)
    for _, rules in ipairs { { new_guids = true }, { grow_last = true } } do
      refused(target(), with(rules, ALL), 'R4', 'neither copy', nil, broken)
    end
    refused(target { size_bytes = 10240512 }, ALL, 'R4', 'neither copy', nil, broken)
    for _, name in ipairs { 'new_guids', 'grow_last' } do
      refused(target(), with({ [name] = true }, ALL), 'R4', name:gsub('_', '-'), nil,
        source { table = 'none' })
    end
  end)

  it('R5: never writes to what is in use, holds the set, or is read-only', function()
    refused(target { in_use = true, holders = 'mounted at /mnt\n' }, ALL, 'R5',
      'is in use: mounted at /mnt')
    refused(target { in_use = true, holders = 'LVM: vg0' }, ALL, 'R5', 'LVM: vg0')
    refused(target { in_use = true, holders = 'swap' }, ALL, 'R5', 'swap')
    refused(target { in_use = true, holders = 'root file system' }, ALL, 'R5', 'root file system')
    refused(target { holds_image = true, holds_what = 'the set' }, ALL, 'R5', 'holds the set')
    refused(target { read_only = true }, ALL, 'R5', 'is read-only')
    refused(target { undo_on_target = true }, ALL, 'R4', 'undo copies on it', 'undo-dir')
    refused(file { type = 'directory' }, ALL, 'R4', 'neither')
  end)

  it('R8: replaces a file only with --force', function()
    assert.is_true(decide(file(), { free = 'leave' }).allowed)
    refused(file { type = 'file' }, { free = 'leave' }, 'R8', 'exists', 'force')
    refused(file { partial_exists = true }, { free = 'leave' }, 'R8', 'not completed', 'force')
  end)

  it('says what it would do', function()
    assert.same({ 'restore the disk of 9.77 MiB from /sets/a', 'overwrite /dev/sdb (S1, 19.5 MiB)',
      'lose a gpt table', "lose sdb1: ext4 'old'",
      'keep its first and last MiB and its partition table in /undo/sdb',
      'free space of the file system is made to read as zeros',
      'write partition 1 (vfat) at 1024, 2.00 KiB',
      'write the gpt partition table last, its backup at the end of the target',
      'give the disk and its partitions new identities', 'grow the last partition to the end',
    }, decide(target { size_bytes = 20480000 }, with({ free = 'zero', new_guids = true,
      grow_last = true }, { force = true, yes_destroy = 'sdb' })).plan)
    assert.same({ 'restore the disk of 9.77 MiB from /sets/a',
      'write out.raw.partial, and rename it to out.raw when it is complete',
      'write partition 1 (vfat) at 1024, 2.00 KiB', 'write its beginning last',
    }, decide(file(), { free = 'leave' }, source { table = 'none' }).plan)
  end)
end)
