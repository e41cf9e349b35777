// What `exodos run` has every Node program load first. A Node too old for exodos starts as if this were not here.
if (process.features.require_module) require('../dist/register.js')
