--- Serve until a signal, or until the end that a server has of its own.
local fail = require 'imgtool.util.fail'
local image = require 'img.image'
local size = require 'imgtool.util.size'
local sys = require 'img.sys'
local view = require 'imgtool.job.view'

local M = {}

local STEP_S <const> = 0.5

local function answer(report, address, server, cache)
  local cached, served = cache:stats(), server:stats()
  report:answer('served', { address = address, cache = cached, server = served },
    ('served %s in %d requests, %d of them failed; cache: %d hits, %d misses, %d of %d blocks '
      .. 'unpacked ahead were used'):format(size.human(served.bytes), served.requests,
      served.failures, cached.hits, cached.misses, cached.ahead_used, cached.ahead))
end

-- Servers end by a signal, also by one that came while they began; a mount may also be unmounted
-- from outside.
local function wait(server, report)
  while sys.signals() <= report.signals_before and (not server.running or server:running()) do
    sys.sleep(STEP_S)
  end
end

--- Open the view of a command line, start a server on it, and wait for a signal to end it.
---@param values table
---@param report table
---@param start fun(dev: img.Device, view: table): table, string the server, and where it is
function M.run(values, report, start)
  sys.catch_signals()
  local what = view.find(values)
  local limit, workers = view.cache_settings(values)
  local cache <close> = fail.try(image.cache { limit_bytes = limit, workers = workers })
  local dev <close> = view.open(what, cache)
  local server <close>, address = start(dev, what)
  report:answer('serving', { address = address, what = what.what, bytes = what.bytes },
    ('serving %s, %s, at %s; Ctrl-C ends it'):format(what.what, size.human(what.bytes), address))
  wait(server, report)
  answer(report, address, server, cache)
  return true
end

return M
