module promostore/bench

go 1.26.0

// What is compared is this checkout, with the replacements it needs itself.
replace promostore => ../

replace github.com/molecule-man/go-brrr => github.com/molecule-man/go-brrr v1.0.1
