-- img.files: the files inside a volume.
local device = require 'img.device'
local files = require 'img.files'
local sys = require 'img.sys'

local function run(...)
  assert(os.execute(string.format(...)))
end

describe('img.files', function()
  local dir = os.tmpname()
  local volume = dir .. '/v'

  setup(function()
    os.remove(dir)
    run('export PATH=$PATH:/usr/sbin:/sbin; mkdir -p %s/tree/sub && cd %s && '
      .. 'echo hello >tree/sub/a && '
      .. 'ln -s sub/a tree/link && truncate -s 4M v && mke2fs -q -F -t ext4 -d tree v', dir, dir)
  end)

  teardown(function() run('rm -rf %s', dir) end)

  it('lists, says and reads', function()
    local dev <close> = assert(device.open(volume))
    local tree <close> = assert(files.open(dev))
    assert.equal('ext4', tree:info().type)
    assert.equal('', tree:info().note)
    local names = assert(tree:list('/'))
    table.sort(names)
    assert.same({ 'link', 'lost+found', 'sub' }, names)
    local node = assert(tree:stat('/sub/a'))
    assert.equal('file', node.type)
    assert.equal(6, node.size)
    assert.equal(1, node.links)
    assert.equal('sub/a', assert(tree:stat('link')).target)
    assert.equal('ello\n', assert(tree:read('sub/a', 1, 100)))
    assert.equal('', assert(tree:read('sub/a', 6, 100)))
    assert.same({}, assert(tree:list('/lost+found')))
  end)

  it('fails with a reason and a code', function()
    local dev <close> = assert(device.open(volume))
    local tree <close> = assert(files.open(dev))
    local got, message, code = tree:stat('/none/x')
    assert.is_nil(got)
    assert.equal('/none does not exist', message)
    assert.equal(sys.codes.not_found, code)
    got, message, code = tree:list('/sub/a')
    assert.is_nil(got)
    assert.is_truthy(message:find('not a directory', 1, true))
    assert.equal(sys.codes.format, code)
    local empty <close> = assert(device.mem(('\0'):rep(65536)))
    got, message, code = files.open(empty)
    assert.is_nil(got)
    assert.equal(sys.codes.format, code)
    assert.is_truthy(message:find('no file system', 1, true))
    assert.has_error(function() tree:read('/sub/a', 0, (1 << 20) + 1) end)
    assert.has_error(function() tree:read('/sub/a', -1, 1) end)
  end)

  it('keeps its device, and is closed once', function()
    local dev = assert(device.open(volume))
    local tree = assert(files.open(dev))
    dev:close()
    assert.equal('hello\n', assert(tree:read('/sub/a', 0, 10)))
    tree:close()
    tree:close()
    assert.has_error(function() tree:list('/') end, 'attempt to use a closed file tree')
  end)
end)
