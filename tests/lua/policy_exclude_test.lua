local check = require 'imgtool.job.check'
local exclude = require 'imgtool.policy.exclude'
local json = require 'imgtool.util.json'

local function file(fields)
  local out = { path = '/x', kept = '', size = 8192, allocated = 8192, swap = false, created = 1,
    modified = 2, accessed = 3, ranges = { { 4096, 8192 } } }
  for key, value in pairs(fields) do out[key] = value end
  return out
end

local function choice(rules, fs_type, fields)
  return exclude.choose(exclude.plan(rules, fs_type), exclude.facts(file(fields)))
end

describe('imgtool.policy.exclude', function()
  it('has a rule for each name', function()
    local names = {}
    for name in pairs(exclude.rules) do names[#names + 1] = name end
    table.sort(names)
    local ordered = table.move(exclude.names, 1, #exclude.names, 1, {})
    table.sort(ordered)
    assert.same(names, ordered)
    assert.is_nil(exclude.rules[exclude.FUNCTION])
  end)

  it('chooses the files of Windows in the root directory alone, whatever their case', function()
    for _, name in ipairs { 'pagefile', 'hiberfil', 'swapfile' } do
      assert.equal(name, choice({ name }, 'ntfs', { path = '/' .. name .. '.sys' }))
      assert.equal(name, choice({ name }, 'ntfs', { path = '/' .. name:upper() .. '.SYS' }))
      assert.is_nil(choice({ name }, 'ntfs', { path = '/old/' .. name .. '.sys' }))
      assert.is_nil(choice({ name }, 'ntfs', { path = '/x' .. name .. '.sys' }))
      assert.is_nil(choice({ name }, 'ntfs', { path = '/' .. name .. '.sys.old' }))
      assert.is_nil(choice({ name }, 'ext4', { path = '/' .. name .. '.sys' }))
    end
    assert.is_nil(choice({ 'hiberfil' }, 'ntfs', { path = '/pagefile.sys' }))
  end)

  it('chooses swap areas by their content', function()
    for _, fs_type in ipairs { 'ext2', 'ext3', 'ext4' } do
      assert.equal('swap', choice({ 'swap' }, fs_type, { path = '/a/b', swap = true }))
      assert.is_nil(choice({ 'swap' }, fs_type, { path = '/swapfile' }))
    end
    assert.is_nil(choice({ 'swap' }, 'ntfs', { swap = true }))
  end)

  it('tells a function the facts, and takes its word', function()
    local told
    local function predicate(facts)
      told = facts
      return facts.size > 8000
    end
    assert.equal('function', choice({ predicate }, 'ntfs', { path = '/a/b.c', swap = true }))
    assert.same({ path = '/a/b.c', name = 'b.c', size = 8192, allocated = 8192, type = 'swap',
      created = 1, modified = 2, accessed = 3 }, told)
    assert.is_nil(choice({ predicate }, 'ntfs', { size = 10 }))
    assert.equal('file', exclude.facts(file {}).type)
    -- A name comes before a function.
    assert.equal('pagefile', choice({ predicate, 'pagefile' }, 'ntfs', { path = '/pagefile.sys' }))
    assert.has_error(function() choice({ function() error('no', 0) end }, 'ntfs', {}) end, 'no')
  end)

  it('looks at all directories only where it must', function()
    assert.is_false(exclude.plan({ 'pagefile', 'swap' }, 'ntfs').tree)
    assert.is_true(exclude.plan({ 'swap' }, 'ext4').tree)
    assert.is_true(exclude.plan({ function() end }, 'ntfs').tree)
    assert.same({ tests = {}, tree = false }, exclude.plan({ 'pagefile' }, 'ext4'))
  end)

  it('names rules in one order, functions once', function()
    local f, g = function() end, function() end
    assert.same({ 'pagefile', 'swap', 'function' }, setmetatable(
      exclude.words { f, 'swap', 'pagefile', 'swap', g }, nil))
    assert.equal('[]', json.encode(exclude.words {}))
  end)
end)

describe('the files that rules chose', function()
  it('are listed by path, with their bytes', function()
    local chosen = exclude.chosen()
    chosen:add('swap', file { path = '/b', ranges = { { 4096, 8192 }, { 65536, 4096 } } })
    chosen:add('function', file { path = '/a', size = 5, ranges = { { 0, 4096 } } })
    local files, bytes = chosen:select()
    assert.same({
      { rule = 'function', path = '/a', size = 5, bytes = 4096, ranges = { { 0, 4096 } } },
      { rule = 'swap', path = '/b', size = 8192, bytes = 12288,
        ranges = { { 4096, 8192 }, { 65536, 4096 } } },
    }, files)
    assert.equal(16384, bytes)
    assert.same({ swap = true, ['function'] = true }, chosen.found)
    assert.equal(0, chosen.skipped)
  end)

  it('stay when nothing of them can be left out, and are named', function()
    local chosen = exclude.chosen()
    chosen:add('pagefile', file { path = '/p', ranges = {}, kept = 'it is compressed' })
    chosen:add('function', file { path = '/empty', ranges = {} })
    assert.same({}, (chosen:select()))
    assert.same({ { path = '/p', why = 'it is compressed' } }, chosen.kept)
    assert.is_true(chosen.found.pagefile)
    for i = 1, 30 do chosen:add('function', file { path = '/' .. i, ranges = {}, kept = 'x' }) end
    assert.equal(31, chosen.kept_count)
    assert.equal(10, #chosen.kept)
  end)

  it('have a list with a limit: the largest stay in it, as wholes', function()
    local chosen = exclude.chosen()
    local many = {}
    for i = 1, 2000 do many[i] = { i * 1048576, 65536 } end
    chosen:add('function', file { path = '/pieces', ranges = many })
    for i = 1, 33000 do
      chosen:add('function', file { path = ('/%05d'):format(i), ranges = { { i << 30, i * 512 } } })
    end
    local files, bytes = chosen:select()
    local text = #json.encode(files)
    assert.is_true(text > 767 << 10 and text <= 768 << 10, text)
    assert.is_true(#files > 1000)
    local sum, there = 0, {}
    for _, one in ipairs(files) do
      sum, there[one.path] = sum + one.bytes, true
    end
    assert.equal(sum, bytes)
    assert.is_true(there['/pieces'] and there['/33000'] and not there['/00001'])
    assert.equal(33001, #files + chosen.skipped)
    assert.equal(2000 * 65536 + 512 * 33000 * 33001 // 2, bytes + chosen.skipped_bytes)
  end)

  it('take a limited memory, also when each lies in many pieces', function()
    local chosen, many, most = exclude.chosen(), {}, 0
    for i = 1, 30000 do many[i] = { i * 8192, 4096 } end
    for i = 1, 20 do
      chosen:add('function', file { path = '/' .. i, ranges = many })
      most = math.max(most, chosen.ranges)
    end
    assert.is_true(most <= 1 << 19, most)
    local files = chosen:select()
    assert.equal(1, #files)
    assert.equal('/1', files[1].path)
    assert.equal(19, chosen.skipped)
  end)

  it('have a list that can be read again, also when each lies in many pieces', function()
    local chosen, ranges = exclude.chosen(), {}
    for i = 1, 1000 do ranges[i] = { i * 8, 1 } end
    for i = 1, 60 do
      chosen:add('swap', { path = ('/%d'):format(i), size = 1000, ranges = ranges, kept = '' })
    end
    local files = chosen:select()
    assert.is_true(#files > 35 and #files < 60)
    assert.equal(60 - #files, chosen.skipped)
    assert.is_not_nil(json.decode(json.encode { exclude = { files = files }, more = { 1, 2 } }))
  end)

  it('come out of an image\'s text sorted', function()
    local ranges, message = exclude.ranges({ exclude = { files = {
      { rule = 'swap', path = '/s', ranges = { { 8192, 4096 }, { 0, 4096 } } },
      { rule = 'function', path = '/t', ranges = { { 4096, 4096 } } },
    } } }, 12288)
    assert.is_nil(message)
    assert.same({
      { offset = 0, length = 4096, rule = 'swap', path = '/s' },
      { offset = 4096, length = 4096, rule = 'function', path = '/t' },
      { offset = 8192, length = 4096, rule = 'swap', path = '/s' },
    }, ranges)
    for _, text in ipairs { {}, { exclude = {} }, { exclude = 3 },
      { exclude = { files = 'x' } } } do
      assert.same({}, exclude.ranges(text, 4096))
    end
    assert.same({}, (exclude.ranges('x', 4096)))
  end)

  it('are not believed when the text makes no sense', function()
    for _, bad in ipairs { { 0 }, { -1, 5 }, { 0, 0 }, { 4096, 8193 }, { 12289, 1 }, { 0.5, 1 },
      { 0, math.maxinteger }, { '0', '1' }, {} } do
      local text = { exclude = { files = { { ranges = { bad } } } } }
      local ranges, message = exclude.ranges(text, 12288)
      assert.same({}, ranges)
      assert.is_string(message)
    end
    local _, message = exclude.ranges({ exclude = { files = {
      { ranges = { { 0, 4097 } } }, { ranges = { { 4096, 10 } } } } } }, 12288)
    assert.equal('two ranges that overlap', message)
    _, message = exclude.ranges({ exclude = { files = { 3 } } }, 12288)
    assert.is_string(message)
  end)
end)

describe('job.exclude', function()
  local function job(value)
    return check.job { source = 'a', target = 'b', exclude = value }
  end

  it('is names, functions, or a list of both', function()
    local f = function() end
    assert.same({ 'pagefile', 'hiberfil' }, job('pagefile,hiberfil').exclude)
    assert.same({ f }, job(f).exclude)
    assert.same({ 'swap', f, 'pagefile', 'swapfile' },
      job({ 'swap', f, 'pagefile,swapfile' }).exclude)
    assert.is_nil(job(nil).exclude)
    -- What was checked once may be checked again.
    assert.same({ 'swap', f }, job(job({ 'swap', f }).exclude).exclude)
  end)

  it('is refused when it is anything else', function()
    for _, case in ipairs {
      { 'pagefil', "'pagefil' is no rule: pagefile, hiberfil, swapfile, swap are, did you mean"
        .. " 'pagefile'?" },
      { 'pagefile, swap', "' swap' is no rule" }, { 'swap,', "'' is no rule" },
      { '', 'the name of a rule' }, { 3, 'the name of a rule' }, { { {} }, 'the name of a rule' },
      { {}, 'an empty list' }, { { swap = true }, 'a list of rules' },
      { true, 'the name of a rule' },
    } do
      local checked, message = job(case[1])
      assert.is_nil(checked)
      assert.matches('job.exclude: ' .. case[2], message, 1, true)
    end
  end)
end)
