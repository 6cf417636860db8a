---@meta img.disk
-- Partition tables: reading and checking them (src/disk/disk.h), and as sectors that are changed and
-- written to another disk (src/disk/disk_edit.h).

---@class img.disk
local disk = {}

---@class img.DiskEdit
local DiskEdit = {}

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

---The sectors of a device's table, to be changed and written elsewhere; the device is read now, and not
---kept.
---@param dev img.Device
---@param sector_bytes integer
---@return img.DiskEdit?, string?, integer?
function disk.edit(dev, sector_bytes) end

---@return 'none'|'dos'|'gpt'
function DiskEdit:kind() end
---Where its sectors lie.
---@return {offset: integer, length: integer}[]
function DiskEdit:areas() end
---The disk has this size: the backup of a GPT goes to its end. Fails as refused when a partition does not
---fit.
---@param size_bytes integer
---@return true?, string?, integer?
function DiskEdit:fit(size_bytes) end
---The last partition gets the space behind it; sizes are equal where there is none.
---@return {start_bytes: integer, old_bytes: integer, new_bytes: integer}?, string?, integer?
function DiskEdit:grow_last() end
---New GUIDs, and a new MBR signature.
---@return true?, string?, integer?
function DiskEdit:new_ids() end
---Write all its sectors, sector 0 last. Not flushed.
---@param dev img.Device
---@return true?, string?, integer?
function DiskEdit:write(dev) end
---Fails with target_io when a sector on the device differs.
---@param dev img.Device
---@return true?, string?, integer?
function DiskEdit:compare(dev) end
function DiskEdit:close() end

return disk
