package lightclient

// Holds is for the tests.
var Holds = holds
