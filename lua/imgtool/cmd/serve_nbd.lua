--- imgtool serve-nbd: an image as a network block device, by nbdkit with our plugin.
local cli = require 'imgtool.util.cli'
local fail = require 'imgtool.util.fail'
local server = require 'img.server'
local sys = require 'img.sys'
local view = require 'imgtool.job.view'

local HOST <const>, PORT <const> = '127.0.0.1', 10809
local PLUGIN <const> = 'nbdkit-imgtool-plugin.so'

local function port(text)
  local value = text:match('^%d+$') and math.tointeger(tonumber(text))
  if not value or value < 1 or value > 65535 then
    return nil, 'a number from 1 to 65535 is expected'
  end
  return value
end

local M = {
  name = 'serve-nbd',
  summary = 'Serve an image as a network block device (NBD)',
  args = view.arguments {
    { name = 'host', option = '--host', argname = 'HOST', default_text = HOST,
      doc = 'The address to listen on.' },
    { name = 'port', option = '--port', argname = 'PORT', convert = port,
      default_text = ('%d'):format(PORT), doc = 'The TCP port.' },
    { name = 'pipe', option = '--pipe', argname = 'PATH',
      doc = 'Listen on this Unix socket instead.' },
    { name = 'cow', flag = '--cow',
      doc = 'Clients may write: what they change is kept until the server ends, then dropped.' },
    { name = 'tls', option = '--tls', argname = 'WHEN', choices = { 'off', 'on', 'require' },
      default_text = 'off', doc = 'Encryption: off, offered, or required.' },
    { name = 'tls_certificates', option = '--tls-certificates', argname = 'DIR',
      doc = 'The certificates for it (nbdkit-tls(1)).' },
    { name = 'tls_psk', option = '--tls-psk', argname = 'FILE',
      doc = 'Its pre-shared keys (nbdkit-tls(1)).' },
    { name = 'tls_verify_peer', flag = '--tls-verify-peer',
      doc = 'Clients need a certificate too.' },
    cli.json, cli.quiet, cli.log_file,
  },
}

-- Beside the program, as it is built, or where it is installed.
local function plugin_path()
  local program = fail.try(sys.realpath('/proc/self/exe'))
  local directory = program:match('^(.*)/[^/]*$')
  for _, place in ipairs { '/', '/../lib/imgtool/' } do
    local path = sys.realpath(directory .. place .. PLUGIN)
    if path then return path end
  end
  fail.raise('not_found', '%s is neither beside %s nor in ../lib/imgtool', PLUGIN, program)
end

local function tls_options(values)
  local out = {}
  if values.tls then out[#out + 1] = '--tls=' .. values.tls end
  if values.tls_certificates then
    out[#out + 1] = '--tls-certificates=' .. values.tls_certificates
  end
  if values.tls_psk then out[#out + 1] = '--tls-psk=' .. values.tls_psk end
  if values.tls_verify_peer then out[#out + 1] = '--tls-verify-peer' end
  return out
end

-- Of each connection. More give nothing, and each keeps a buffer as long as the longest request.
local function threads() return math.min(16, math.max(8, sys.cores())) end

--- The arguments for nbdkit.
---@param values table
---@param what table a view
---@param plugin string
---@return string[] arguments, string address
function M.arguments_for(values, what, plugin)
  local out, address = { '--foreground', ('--threads=%d'):format(threads()) }, values.pipe
  if values.pipe then
    out[#out + 1] = '--unix=' .. values.pipe
  else
    local host, number = values.host or HOST, values.port or PORT
    out[#out + 1], out[#out + 2] = '--ip-addr=' .. host, ('--port=%d'):format(number)
    address = ('%s:%d'):format(host, number)
  end
  table.move(tls_options(values), 1, 4, #out + 1, out)
  if values.cow then out[#out + 1] = '--filter=cow' else out[#out + 1] = '--read-only' end
  out[#out + 1] = plugin
  table.move(view.plugin(what), 1, 1 << 10, #out + 1, out)
  local limit, workers = view.cache_settings(values)
  out[#out + 1], out[#out + 2] = ('cache-bytes=%d'):format(limit), ('workers=%d'):format(workers)
  if not values.quiet then out[#out + 1] = 'stats=1' end
  return out, address
end

local function check(values)
  if values.pipe and (values.host or values.port) then
    fail.raise('usage', '--pipe goes with neither --host nor --port')
  end
  local tls = values.tls and values.tls ~= 'off'
  for _, name in ipairs { 'tls_certificates', 'tls_psk', 'tls_verify_peer' } do
    if values[name] and not tls then
      fail.raise('usage', '--%s has no meaning without --tls=on or --tls=require',
        (name:gsub('_', '-')))
    end
  end
end

-- What nbdkit says of an address that is taken comes after `serving`, and with none of our exit
-- codes.
local function probe(values)
  fail.try(server.probe(values.pipe and { unix_path = values.pipe }
    or { host = values.host or HOST, port = values.port or PORT }))
end

local function serve(values, report)
  check(values)
  local what = view.find(values)
  local arguments, address = M.arguments_for(values, what, plugin_path())
  probe(values)
  report:answer('serving', { address = address, what = what.what, bytes = what.bytes },
    ('serving %s at %s with nbdkit; Ctrl-C ends it'):format(what.what, address))
  report:close()
  return fail.try(sys.become_tool('nbdkit', arguments))
end

function M.run(values, report)
  return fail.catch(serve, values, report)
end

return M
