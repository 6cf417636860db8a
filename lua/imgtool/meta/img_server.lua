---@meta img.server
-- Servers: a read-only device given to others. A server has threads of its own, and keeps its device.

---@class img.server
local server = {}

---@class img.Server
local Server = {}

---@class img.Mount
local Mount = {}

---The DevIO / IMDPROXY protocol of ImDisk and Arsenal Image Mounter, on TCP (port 0: one that is
---free) or, with unix_path, on a Unix socket, which must not exist and is removed in the end.
---@param dev img.Device
---@param options {host: string?, port: integer?, unix_path: string?, max_clients: integer, timeout_s: integer}
---@return img.Server?, string?, integer?
function server.proxy(dev, options) end

---Whether a server could listen there (code busy: another does); nobody who waits for one sees it.
---@param options {host: string?, port: integer?, unix_path: string?}
---@return true?, string?, integer?
function server.probe(options) end

---Where it listens: host:port, or the path.
---@return string
function Server:address() end
---clients_over: closed because there were too many; clients_late: because they were silent or slow.
---@return {clients: integer, clients_all: integer, clients_over: integer, clients_late: integer, requests: integer, failures: integer, bytes: integer}
function Server:stats() end
---Ends all clients.
function Server:close() end

---Mount devices as files of a directory (FUSE), read-only; they are kept. With allow_other other users
---may look in too.
---@param dir string an existing directory
---@param files {name: string, device: img.Device}[]
---@param options? {allow_other: boolean?}
---@return img.Mount?, string?, integer?
function server.mount(dir, files, options) end

---Mount the files inside a volume, read-only; the tree is kept.
---@param dir string an existing directory
---@param files img.Files
---@param options? {allow_other: boolean?}
---@return img.Mount?, string?, integer?
function server.mount_files(dir, files, options) end

---False when it was unmounted from outside.
---@return boolean
function Mount:running() end
---@return {requests: integer, failures: integer, bytes: integer}
function Mount:stats() end
---Unmounts, also while files are open.
function Mount:close() end

return server
