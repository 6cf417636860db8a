---@meta img.pipeline
-- Jobs that move bytes. A job runs in threads of its own; everything it was given is kept alive.
-- While one runs, its map can't be changed and its writer answers nothing but head(): that throws.

---@class img.pipeline
local pipeline = {}

---@class img.Job
local Job = {}

---@class img.Settings
---@field workers integer 1 to 64
---@field depth integer block slots in flight, 2 to 1024
---@field level? integer zstd level; a capture needs one, others ignore it
---@field max_bytes_per_s? integer 0: no limit
---@field stall_s? integer nothing moves for so many seconds: the job fails; 0: it waits for ever

---@class img.Capture: img.Settings
---@field source img.Device
---@field map img.Map
---@field writer img.Writer
---@field on_read_error 'abort'|'zero'
---@field read_retries integer

---@param capture img.Capture
---@return img.Job?, string?, integer?
function pipeline.capture(capture) end

---@class img.Restore: img.Settings
---@field image img.Image
---@field target img.Device
---@field offset? integer source offset, default 0
---@field length? integer at least 1; default: to the end
---@field target_offset? integer default 0
---@field free 'leave'|'discard'|'zero'
---@field target_is_zero boolean the target is new and reads as zeros
---@field only_changed? boolean read the target, and write what differs only
---@field on_read_error 'abort'|'zero'

---@param restore img.Restore
---@return img.Job?, string?, integer?
function pipeline.restore(restore) end

---@class img.Verify: img.Settings
---@field image img.Image
---@field sample_percent integer 1 to 100
---@field seed integer

---@param verify img.Verify
---@return img.Job?, string?, integer?
function pipeline.verify(verify) end

---@class img.Compare: img.Settings
---@field image img.Image
---@field target img.Device
---@field offset? integer source offset, default 0
---@field length? integer at least 1; default: to the end
---@field target_offset? integer default 0
---@field free_is_zero boolean free space was made to read as zeros, and must

---Hold a target against an image's hashes. It fails with code target_io when something differs; what, is
---among its losses.
---@param compare img.Compare
---@return img.Job?, string?, integer?
function pipeline.compare(compare) end

---@class img.Clone: img.Settings
---@field source img.Device
---@field map img.Map of the whole source; it can't be changed while the job runs
---@field target img.Device at least as large as the source
---@field block_bytes integer the unit of writing and hashing
---@field free 'leave'|'discard'|'zero'
---@field target_is_zero boolean
---@field on_read_error 'abort'|'zero'
---@field read_retries integer

---A device to another, without an image.
---@param clone img.Clone
---@return img.Job?, string?, integer?
function pipeline.clone(clone) end

---@class img.CloneCheck: img.Settings
---@field clone img.Job one of pipeline.clone that has ended
---@field target img.Device
---@field free_is_zero boolean

---Read the target of a clone back and hold it against what was written; as pipeline.compare.
---@param check img.CloneCheck
---@return img.Job?, string?, integer?
function pipeline.clone_check(check) end

---@class img.Progress
---@field state 'running'|'paused'|'done'|'failed'|'cancelled'
---@field workers integer
---@field depth integer
---@field level integer
---@field max_bytes_per_s integer
---@field stall_s integer
---@field total_bytes integer
---@field done_bytes integer
---@field position integer
---@field data_bytes integer
---@field zero_bytes integer
---@field free_bytes integer
---@field same_bytes integer bytes that the target held already (only_changed, compare)
---@field bad_bytes integer
---@field bad_count integer
---@field stored_bytes integer
---@field committed_bytes integer
---@field rate_bytes_per_s integer
---@field elapsed_ns integer
---@field paused_ns integer
---@field queued integer
---@field in_flight integer
---@field reading_ns integer
---@field working_ns integer
---@field idle_ns integer
---@field writing_ns integer
---@field ordered_ns integer
---@field full_ns integer

---@return img.Progress
function Job:progress() end
---Change settings while it runs; fields left out stay, values beyond the limits are cut to them.
---@param settings {workers: integer?, depth: integer?, level: integer?, max_bytes_per_s: integer?, stall_s: integer?}
function Job:set(settings) end
function Job:pause() end
function Job:resume() end
---Stop; with `after_chunk` a capture first finishes the chunk under way.
---@param after_chunk? boolean
function Job:cancel(after_chunk) end
---true: done; false: still running after `seconds`; else the failure. A job that came to its end but
---met bad ranges or lost blocks fails with code bad_sectors.
---@param seconds? number default: for ever
---@return boolean?, string?, integer?
function Job:wait(seconds) end
---Was it given up because nothing moved? Its threads may be stuck, and close will wait for them.
---@return boolean
function Job:stalled() end
---Blocks looked at, and blocks there are.
---@return integer checked, integer all
function Job:blocks() end
---What was lost, block by block; throws while the job runs.
---@return {offset: integer, length: integer, file_offset: integer, why: string}[]
function Job:losses() end
---Cancels when still running, and waits for its threads.
function Job:close() end

return pipeline
