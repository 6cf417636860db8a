---@meta img.files
-- The files inside a volume, read-only. The parser runs in a process of its own.

---@class img.files
local files = {}

---@class img.Files
local Files = {}

---@class img.FileNode
---@field type string file, directory, link, fifo, socket, char, block
---@field size integer
---@field allocated_bytes integer
---@field links integer
---@field mode integer permissions; a guess where the file system has none
---@field uid integer?
---@field gid integer?
---@field modified_s integer since 1970
---@field modified_ns integer
---@field target string? of a link

---ext2, ext3, ext4 and NTFS; code `format` for all else. The device is kept.
---@param dev img.Device a volume
---@return img.Files?, string?, integer?
function files.open(dev) end

---free_bytes is 0 where it is not known.
---@return {type: string, note: string, block_bytes: integer, size_bytes: integer, free_bytes: integer, nodes: integer}
function Files:info() end

---A path is from the top on: '/etc/passwd'. Links are not followed.
---@param path string
---@return img.FileNode?, string?, integer?
function Files:stat(path) end

---The names in a directory, in no order.
---@param path string
---@return string[]?, string?, integer?
function Files:list(path) end

---At most 1 MiB of a file; less at its end.
---@param path string
---@param offset integer
---@param length integer
---@return string?, string?, integer?
function Files:read(path, offset, length) end

function Files:close() end

return files
