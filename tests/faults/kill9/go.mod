module strongroom.test/kill9

go 1.25
