-- Results of jobs that were checked only have all members that the documentation promises.
local blank = require 'imgtool.job.blank'
local schema = require 'imgtool.job.schema'

-- Those that a result has only when there is something to say.
local OPTIONAL = { reason = true, verified = true, grown = true, ids = true }

-- Members by action, from the table of results in docs/job-files.md.
local function documented()
  local file <close> = assert(io.open('docs/job-files.md'))
  local page = file:read('a')
  local section = page:match('\n## Results\n(.-)\n## ')
  local out = {}
  for actions, members in section:gmatch('\n| (`[^|]+) | ([^\n]+) |') do
    for action in actions:gmatch('`([%w-]+)`') do
      out[action] = {}
      -- What is in parentheses are members of members.
      for name in members:gsub('%b()', ''):gmatch('`([%w_]+)`') do out[action][name] = true end
      if members:find('^those of `restore`') then
        for name in pairs(out.restore) do out[action][name] = true end
        out[action].restore = nil
      end
    end
  end
  return out
end

local function job_of(action)
  local job = { action = action }
  for _, field in ipairs(schema.fields_of(action)) do
    if field.type == 'path' and schema.of(field.required, action) then job[field.name] = 'x' end
  end
  return job
end

describe('imgtool.job.blank', function()
  it('has the documented members of every action', function()
    local members = documented()
    for _, action in ipairs(schema.actions) do
      local result = blank.result(job_of(action.name))
      assert.equal(0, result.code)
      assert.is_not_nil(members[action.name], action.name .. ' has no documentation of its result')
      for name in pairs(members[action.name]) do
        if not OPTIONAL[name] then
          assert.is_not_nil(result[name], action.name .. '.' .. name)
        end
      end
    end
  end)

  it('names the image as the job does, where that is known', function()
    assert.equal('d/x.img.zst', blank.result { action = 'image', source = 's', target = 'd/',
      name = 'x' }.image)
    assert.equal('d/NAME.img.zst', blank.result { action = 'image', source = 's',
      target = 'd/' }.image)
    assert.equal('d/x', blank.result { action = 'image', source = 's', target = 'd/x' }.image)
    assert.equal('new', blank.result { action = 'repair', source = 's', target = 'new' }.image)
    assert.equal('s', blank.result { action = 'restore', source = 's', target = 't' }.image)
  end)

  it('changes nothing that is known', function()
    local result = blank.fill { action = 'image', data_bytes = 5, uuid = 'u' }
    assert.equal(5, result.data_bytes)
    assert.equal('u', result.uuid)
    assert.equal(0, result.file_bytes)
    assert.equal('', result.root)
  end)
end)
