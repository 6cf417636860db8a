-- For busted (--helper): the Lua sources of this tree, and the C modules from build/imgtool_c.so.
-- Started by scripts/run-tests in the top directory; $BUILD names another build directory.
local busted = require 'busted'

package.path = 'lua/?.lua;lua/?/init.lua;tests/lua/?.lua;' .. package.path

-- luaopen_imgtool_c fills package.preload with img.device, img.map and so on. Where it cannot be
-- loaded, the tests that need it fail; those of pure Lua run.
local path = (os.getenv 'BUILD' or 'build') .. '/imgtool_c.so'
local open, message = package.loadlib(path, 'luaopen_imgtool_c')
package.preload['imgtool_c'] = function(...)
  if not open then error(message, 0) end
  return open(...)
end
if open then require 'imgtool_c' end

-- Two collections after each test: what was forgotten is finalised now, in the test that forgot it,
-- and what a finaliser let go is collected too.
busted.subscribe({ 'test', 'end' }, function()
  collectgarbage()
  collectgarbage()
  return nil, true
end)
