---@meta img.device
-- Devices: bytes at offsets. Sizes and offsets are integers in bytes. Expected failure is
-- `nil, message, code` (code: the exit code's number, see img.sys.codes); misuse throws.
--
-- Handles, here and in the other modules: declare them `<close>`. `close` may be called again. What a
-- handle was made from (a slice's device, a job's image) may be closed before it: that handle is then
-- closed for Lua at once, but stays open underneath until the last one that uses it is closed.

---@class img.device
local device = {}

---@class img.Device
local Device = {}

---Open a regular file or block device; read-only unless `write`.
---@param path string
---@param options? {write: boolean?, direct: boolean?, exclusive: boolean?, create: boolean?, truncate: boolean?}
---@return img.Device?, string?, integer?
function device.open(path, options) end

---A pipe on a descriptor of this process (0 stdin, 1 stdout), sequential. The descriptor is duplicated.
---@param fd integer
---@param writable boolean
---@return img.Device?, string?, integer?
function device.pipe(fd, writable) end

---A window on `under`, which is kept alive.
---@param under img.Device
---@param offset integer
---@param length integer
---@return img.Device?, string?, integer?
function device.slice(under, offset, length) end

---`base` with `part` laid over it at an offset, read-only; both are kept alive.
---@param base img.Device
---@param offset integer
---@param part img.Device
---@return img.Device?, string?, integer?
function device.overlay(base, offset, part) end

---Memory: a copy of a string, or that many zero bytes.
---@param content string|integer
---@return img.Device?, string?, integer?
function device.mem(content) end

---A device that misbehaves on demand, for tests.
---@param under img.Device
---@param plan {rules: {op: 'read'|'write'|'flush', action: 'fail'|'shorten'|'delay'|'tear', nth: integer?, sticky: boolean?, offset: integer?, length: integer?, errno: integer?, delay_ms: integer?}[]?, align_bytes: integer?, size_bytes: integer?, logical_bytes: integer?}
---@return img.Device?, string?, integer?
function device.fault(under, plan) end

---@class img.Identity
---@field path string
---@field name string
---@field kind string
---@field parent string
---@field model string
---@field serial string
---@field wwn string
---@field bus string
---@field part_table string
---@field disk_id string
---@field part_number integer
---@field part_type string
---@field part_guid string
---@field part_name string
---@field fs_type string
---@field fs_label string
---@field fs_uuid string
---@field start_bytes integer
---@field size_bytes integer
---@field logical_bytes integer
---@field physical_bytes integer
---@field read_only boolean
---@field removable boolean
---@field rotational boolean

---Who a device is: model, serial, partition and file system (src/device/identity.h).
---@param dev img.Device
---@return img.Identity?, string?, integer?
function device.identity(dev) end

---All disks and partitions of the machine, a disk before its partitions.
---@return img.Identity[]?, string?, integer?
function device.list() end

---What holds a device: a line of text ('' when free), and whether writing to it would hurt.
---@param dev img.Device
---@return string?, boolean|string|nil, integer?
function device.holders(dev) end
---Whether writing to a device or file changes what `path` holds: the two are one, one lies on the
---other (loop devices, partitions, LVM), or both on the same.
---@param dev img.Device
---@param path string a file or block device
---@return boolean?, string?, integer?
function device.reaches(dev, path) end

---@return string
function Device:name() end
---@return integer
function Device:size() end
---@return {size_bytes: integer, logical_bytes: integer, physical_bytes: integer, align_bytes: integer, writable: boolean, sequential: boolean, block_device: boolean, can_discard: boolean, can_grow: boolean, rotational: boolean}
function Device:info() end

---At most 64 MiB at once.
---@param offset integer
---@param length integer
---@return string?, string?, integer?
function Device:read(offset, length) end
---@param offset integer
---@param bytes string
---@return true?, string?, integer?
function Device:write(offset, bytes) end
---@return true?, string?, integer?
function Device:flush() end
---@param offset integer
---@param length integer
---@return true?, string?, integer?
function Device:discard(offset, length) end
---@param offset integer
---@param length integer
---@return true?, string?, integer?
function Device:zero(offset, length) end
---@param size integer
---@return true?, string?, integer?
function Device:set_size(size) end
---Have the kernel read a block device's partition table again; fails as busy when a partition is in use.
---@return true?, string?, integer?
function Device:reread_table() end
---How long the sectors are of the disk whose bytes a file holds; a block device refuses. Slices opened
---later have it too.
---@param sector_bytes integer
---@return true?, string?, integer?
function Device:set_sector_bytes(sector_bytes) end
---Operations seen so far by a device.fault.
---@param op 'read'|'write'|'flush'
---@return integer
function Device:fault_count(op) end
function Device:close() end

return device
