--- Serve until a signal, or until the end that a server has of its own.
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local size = require 'imgtool.util.size'
local sys = require 'img.sys'
local view = require 'imgtool.job.view'

local M = {}

local STEP_S <const> = 0.5

local function answer(report, values, server, cache)
  local cached, served = cache:stats(), server:stats()
  local object = { cache = cached, server = served }
  for key, value in pairs(values) do object[key] = value end
  report:answer('served', object, ('served %s in %d requests to %d clients; cache: %d hits, %d '
    .. 'misses, %d of %d unpacked ahead were used'):format(size.human(served.bytes),
    served.requests, served.clients_all, cached.hits, cached.misses, cached.ahead_used,
    cached.ahead))
end

--- Open the view of a command line, start a server on it, and wait for a signal to end it.
---@param values table
---@param report table
---@param start fun(dev: img.Device, view: table): table a server: address, stats, close; running?
function M.run(values, report, start)
  sys.catch_signals()
  local what = view.find(values)
  local limit, workers = view.cache_settings(values)
  local cache <close> = fail.try(image.cache { limit_bytes = limit, workers = workers })
  local dev <close> = view.open(what, cache)
  local before = sys.signals()
  local server <close> = start(dev, what)
  report:answer('serving', { address = server:address(), what = what.what, bytes = what.bytes },
    ('serving %s, %s, at %s; Ctrl-C ends it'):format(what.what, size.human(what.bytes),
      server:address()))
  while sys.signals() == before and (not server.running or server:running()) do
    sys.sleep(STEP_S)
  end
  answer(report, { address = server:address() }, server, cache)
  return true
end

return M
