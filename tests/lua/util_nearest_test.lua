local nearest = require 'imgtool.util.nearest'

describe('imgtool.util.nearest', function()
  it('counts the letters to change', function()
    assert.equal(0, nearest.distance('image', 'image'))
    assert.equal(5, nearest.distance('', 'image'))
    assert.equal(3, nearest.distance('kitten', 'sitting'))
    assert.equal(1, nearest.distance('imgae', 'image'))
  end)

  local names = { 'list', 'image', 'verify', 'info', 'restore', 'export-raw', 'export-range' }
  it('finds the name that was meant', function()
    assert.equal('image', nearest.name('imgae', names))
    assert.equal('verify', nearest.name('verfiy', names))
    assert.equal('verify', nearest.name('VERIFY', names))
    assert.equal('export-raw', nearest.name('exportraw', names))
    assert.equal('export-raw', nearest.name('export', names))
    assert.equal('restore', nearest.name('rest', names))
  end)

  it('says nothing when nothing is near', function()
    assert.is_nil(nearest.name('zzz', names))
    assert.is_nil(nearest.name('x', {}))
    assert.equal('', nearest.hint('zzz', names))
    assert.equal(", did you mean 'list'?", nearest.hint('lst', names))
  end)
end)
