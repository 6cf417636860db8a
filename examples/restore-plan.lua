-- Restore a whole disk from a set: first the plan, then, on a word, the real thing.
--
--   imgtool run examples/restore-plan.lua /backup/system-2026-01-31 SERIAL
--   imgtool run examples/restore-plan.lua /backup/system-2026-01-31 SERIAL restore
--
-- The disk is named by its serial number (`imgtool list`), or by KEY=VALUE (wwn, guid, path, ...):
-- docs/job-files.md. Without the word nothing is written.
local set_dir, which, word = ...
if not which or word and word ~= 'restore' then
  error('usage: restore-plan.lua SET SERIAL|KEY=VALUE [restore]', 0)
end

local key, value = which:match('^(%a+)=(.+)$')
local target = disk { [key or 'serial'] = value or which }

local restore = {
  action = 'restore-physical', set_dir = set_dir, target = target.path,
  yes_destroy = target.path, verify_after = true,
}

-- What speaks against it ends the script here.
restore.dry_run = true
job(restore)
if not word then
  print(("nothing was written; '%s' and the word restore do it"):format(which))
  return
end

-- What will be overwritten is gone: is what will be written good?
job { action = 'verify-set', set_dir = set_dir }
restore.dry_run = nil
local done = job(restore)
print(('%s: %d partitions, %.1f MiB of data written'):format(target.path, done.partitions,
  done.data_bytes / MiB))
