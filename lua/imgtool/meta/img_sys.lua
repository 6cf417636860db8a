---@meta img.sys
-- The system: what Lua's own library lacks.

---@class img.sys
local sys = {}

---Exit codes by word: sys.codes.damaged == 7.
---@type table<string, integer>
sys.codes = {}

---@param code integer
---@return string
function sys.word(code) end
---@param code integer
---@return string
function sys.meaning(code) end

---@return {imgtool: string, commit: string, format: string, lua: string, zstd: string, ext2fs: string, ntfs3g: string, uring: string, blkid: string, xxhash: string, openssl: string}
function sys.version() end
---Monotonic nanoseconds.
---@return integer
function sys.clock_ns() end
---Ends early when a signal is caught.
---@param seconds number
function sys.sleep(seconds) end
---End the program at once, without letting go of anything: for threads that are stuck in the kernel.
---@param code integer
function sys.exit_now(code) end
---A new random UUID (version 4).
---@return string
function sys.uuid() end
---@return string
function sys.hostname() end
---@return integer
function sys.cores() end
---Bytes of memory that can be had.
---@return integer
function sys.memory_available() end
---@return integer
function sys.euid() end
---@param fd integer
---@return boolean
function sys.isatty(fd) end
---Columns of the terminal on a descriptor; 80 when it is none.
---@param fd integer
---@return integer
function sys.columns(fd) end

---From now on SIGINT, SIGTERM and SIGHUP (unless ignored, as by nohup) are counted instead of ending
---the program.
function sys.catch_signals() end
---How many were caught, and the last one's number.
---@return integer count, integer last
function sys.signals() end

---Of the path itself, a link too (sys.realpath follows links). `device` is that of the file system that
---holds the path: `device` and `inode` together name a file.
---@param path string
---@return {type: 'file'|'directory'|'block'|'char'|'fifo'|'socket'|'link'|'other', size: integer, mode: integer, uid: integer, gid: integer, device: integer, inode: integer, blocks_bytes: integer, modified_s: integer}?, string?, integer?
function sys.stat(path) end
---Bytes that an ordinary user can still write on the file system that holds `path`.
---@param path string
---@return integer?, string?, integer?
function sys.space_available(path) end
---The absolute path without links.
---@param path string
---@return string?, string?, integer?
function sys.realpath(path) end
---Rename; fails when `to` exists, unless `replace`. Then the directory is synced.
---@param from string
---@param to string
---@param replace? boolean
---@return true?, string?, integer?
function sys.rename(from, to, replace) end
---@param path string
---@return true?, string?, integer?
function sys.sync_directory(path) end
---@class img.Lock
local Lock = {}

---An advisory lock on a file, created when missing; held until the handle is closed.
---@param path string
---@return img.Lock?, string?, integer?
function sys.lock(path) end
function Lock:close() end

---Run a program of a fixed list (src/base/spawn.c) without a shell: its exit status, and what it said. A
---program that is not installed fails as not_found, one that does not end in time as busy.
---@param name string
---@param arguments string[]
---@param timeout_s integer
---@return integer?, string?, integer?
function sys.run_tool(name, arguments, timeout_s) end
---Become a program of that list: returns only when it fails.
---@param name string
---@param args string[]
---@return nil, string, integer
function sys.become_tool(name, args) end

---Handles whose C object is open, by word ('device', 'image', 'job', ...), those with none left out.
---A closed handle counts as long as others (a slice, a job) still use it.
---@return table<string, integer>
function sys.open_handles() end

---Lua modules that replace embedded ones: name to path. Throws, like `require`, when one must not be
---loaded (root, and others could change it): a table {message, code} that prints as its message.
---@return table<string, string>
function sys.overrides() end
---The embedded Lua module's source, or nil.
---@param name string
---@return string?
function sys.embedded(name) end

---Read a line with history and editing; nil at end of file. `complete` gets the word before the cursor
---(dots and colons belong to it) and gives an array of whole words to put there. Once signals are caught,
---Ctrl-C gives up the line: it is ''.
---@param prompt string
---@param complete? fun(word: string): string[]
---@return string?
function sys.readline(prompt, complete) end
---@param line string
function sys.add_history(line) end
---@param path string
---@return true?, string?, integer?
function sys.load_history(path) end
---@param path string
---@return true?, string?, integer?
function sys.save_history(path) end

return sys
