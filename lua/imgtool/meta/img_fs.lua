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
---Cancelled by a signal, also by one that came since sys.signals gave `seen`; without it, since it began. So are
---`files` and `claims`.
---@param dev img.Device
---@param seen integer?
---@return img.Map?, img.FsReport|string|nil, integer?
function fs.map(dev, seen) end

---@class img.File
---@field path string from the root, which is '/'
---@field kept string why nothing of it can be left out; or ''
---@field size integer
---@field allocated integer
---@field swap boolean its content is a swap area
---@field created integer seconds since 1970 UTC; 0: not known
---@field modified integer
---@field accessed integer
---@field ranges integer[][] offset and length on the device of what holds its content and nothing else

---Show each regular file of the root directory, or with `tree` of all directories, to a function, which
---may end it by answering false. Refused where the file system is not consistent.
---@param dev img.Device
---@param tree boolean
---@param visit fun(file: img.File): boolean?
---@param seen integer? signals
---@return true?, string?, integer?
function fs.files(dev, tree, visit, seen) end

---How many bytes inside the extents of a map the files and the metadata claim, in all.
---@param dev img.Device
---@param ranges img.Map
---@param seen integer? signals
---@return integer?, string?, integer?
function fs.claims(dev, ranges, seen) end

return fs
