package objects_test

import _ "github.com/johannesboyne/gofakes3"
