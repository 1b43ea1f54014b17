package netio_test

const abilities = true
