---@meta img.disk
-- Partition tables: reading and checking them (src/disk/disk.h). Nothing is written here.

---@class img.disk
local disk = {}

---@class img.Partition
---@field index integer as users count: 1 is the first entry, logical partitions from 5 on
---@field start_bytes integer
---@field size_bytes integer
---@field type string type GUID, or '0x83' of an MBR
---@field guid string
---@field name string
---@field attributes string '0x' and 16 digits; '' when none is set
---@field active boolean
---@field logical boolean
---@field container boolean the extended partition, which holds the logical ones

---@class img.Table
---@field table 'none'|'dos'|'gpt'
---@field id string
---@field sector_bytes integer
---@field size_bytes integer of the disk
---@field note string what is odd; '' when nothing is
---@field first_usable_bytes integer? GPT
---@field end_usable_bytes integer? GPT, exclusive
---@field primary_valid boolean? GPT
---@field backup_valid boolean? GPT
---@field partitions img.Partition[] in the order of start_bytes, a container before its own
---@field regions {offset: integer, length: integer}[] sectors that hold the table

---The table of a disk, its sectors as long as the device says. A table with partitions that are empty,
---overlap or lie outside the disk fails as `refused`, and the message names the partition.
---@param dev img.Device
---@return img.Table?, string?, integer?
function disk.read(dev) end

return disk
