---@meta img.fs
-- File systems: which one, and which bytes of a device it uses.

---@class img.fs
local fs = {}

---@class img.FsReport
---@field type string
---@field label string
---@field uuid string
---@field used_only boolean
---@field reason string
---@field note string
---@field block_bytes integer
---@field free_bytes integer

---@param dev img.Device
---@return img.FsReport?, string?, integer?
function fs.probe(dev) end

---The allocation map of the whole device; all data, with the reason in the report, where it can't be known.
---@param dev img.Device
---@return img.Map?, img.FsReport|string|nil, integer?
function fs.map(dev) end

return fs
