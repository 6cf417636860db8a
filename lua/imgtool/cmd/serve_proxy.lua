--- imgtool serve-proxy: an image as a disk for ImDisk and Arsenal Image Mounter.
local cli = require 'imgtool.util.cli'
local fail = require 'imgtool.util.fail'
local server = require 'img.server'
local serving = require 'imgtool.job.serving'
local view = require 'imgtool.job.view'

local HOST <const>, PORT <const> = '127.0.0.1', 11459
local CLIENTS <const>, TIMEOUT_S <const> = 16, 30

local function number(min, max)
  return function(text)
    local value = text:match('^%d+$') and math.tointeger(tonumber(text))
    if not value or value < min or value > max then
      return nil, ('a number from %d to %d is expected'):format(min, max)
    end
    return value
  end
end

local M = {
  name = 'serve-proxy',
  summary = 'Serve an image as a disk to ImDisk and Arsenal Image Mounter (DevIO protocol)',
  args = view.arguments {
    { name = 'host', option = '--host', argname = 'HOST', default_text = HOST,
      doc = 'The address to listen on. Whoever can connect can read all.' },
    { name = 'port', option = '--port', argname = 'PORT', convert = number(0, 65535),
      default_text = ('%d'):format(PORT), doc = 'The TCP port; 0: one that is free.' },
    { name = 'pipe', option = '--pipe', argname = 'PATH',
      doc = 'Listen on this Unix socket instead.' },
    { name = 'max_clients', option = '--max-clients', argname = 'N', convert = number(1, 1024),
      default_text = ('%d'):format(CLIENTS), doc = 'So many at once; more are turned away.' },
    { name = 'timeout', option = '--timeout', argname = 'SECONDS', convert = number(1, 86400),
      default_text = ('%d'):format(TIMEOUT_S),
      doc = 'Who says nothing for so long at first, or stops within a request, is let go.' },
    cli.json, cli.quiet, cli.log_file,
  },
}

function M.run(values, report)
  if values.pipe and (values.host or values.port) then
    return nil, '--pipe goes with neither --host nor --port', 2
  end
  return fail.catch(serving.run, values, report, function(dev)
    local proxy = fail.try(server.proxy(dev, {
      unix_path = values.pipe, host = not values.pipe and (values.host or HOST) or nil,
      port = not values.pipe and (values.port or PORT) or nil,
      max_clients = values.max_clients or CLIENTS, timeout_s = values.timeout or TIMEOUT_S,
    }))
    return proxy, proxy:address()
  end)
end

return M
