-- Back up the disks of a machine, each into a set of its own, and check the sets.
--
--   imgtool check examples/whole-machine.lua /backup            are there mistakes in it?
--   imgtool run --dry-run examples/whole-machine.lua /backup    what it would do, and how long
--   imgtool run examples/whole-machine.lua /backup
--
-- Makes /backup/NAME-2026-01-31 for each disk of the list. Disks are told by what they are and what
-- they hold: names such as /dev/sda change from one start of the machine to the next. Roles on the
-- command line, NAME:KEY=VALUE, are taken instead of the list.
local roles = {
  { name = 'system', holds = 'efi' }, -- the disk that holds the EFI partition
  { name = 'home', holds = '/home' }, -- the disk where /home is
  { name = 'archive', serial = 'WD-WX12D34E5678' }, -- as `imgtool list` shows it
}

local directory = ...
if not directory then error('usage: whole-machine.lua DIRECTORY [NAME:KEY=VALUE...]', 0) end
if args[2] then roles = {} end
for i = 2, #args do
  local name, key, value = args[i]:match('^([^:/]+):(%a+)=(.+)$')
  if not name then error(("'%s' is no NAME:KEY=VALUE"):format(args[i]), 0) end
  roles[#roles + 1] = { name = name, [key] = value }
end

-- All disks are found before the first one is read: a disk that is missing is known at once.
local found, named = {}, {}
for i, role in ipairs(roles) do
  local wanted = {}
  for key, value in pairs(role) do
    if key ~= 'name' then wanted[key] = value end
  end
  found[i] = disk(wanted)
  local other = named[found[i].path]
  if other then error(("'%s' and '%s' are the same disk"):format(other, role.name), 0) end
  named[found[i].path] = role.name
end

-- Nobody should believe that a disk is safe which is in no role.
for _, other in ipairs(disks { kind = 'disk', removable = false }) do
  if not named[other.path] then
    print(("not backed up: %s, serial '%s'"):format(other.path, other.serial))
  end
end

-- A disk that fails does not keep the others from being backed up; the run has failed all the same.
for i, role in ipairs(roles) do
  local set_dir = ('%s/%s-%s'):format(directory, role.name, date())
  local set, message, word = job.try { action = 'backup-disk', device = found[i].path,
    set_dir = set_dir, on_read_error = 'zero' }
  local bad = word == 'bad_sectors' and ', BUT ' .. message or ''
  local checked
  if set or word == 'bad_sectors' then
    checked, message = job.try { action = 'verify-set', set_dir = set_dir }
  end
  print(('%s: %s'):format(role.name, checked and set_dir .. bad or 'FAILED: ' .. message))
end
