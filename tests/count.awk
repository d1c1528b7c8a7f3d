# Counts test cases in meson's testlog.txt and prints "PASSED FAILED". A program that prints TAP
# counts once per case (skipped and todo cases not at all); another counts once, by its result.
function finish() {
    if (!open) return
    if (cases == 0 && result ~ /exit status 0/) passed++
    # A crash or a failure that no case reported counts as one.
    else if (bad == 0 && result !~ /exit status (0|77)/) failed++
    passed += good
    failed += bad
}
/^=+ [0-9]+\/[0-9]+ =+$/ {
    finish()
    open = 1
    good = bad = cases = 0
    result = ""
}
/^result: / { if (result == "") result = $0 }
/^(not )?ok [0-9]/ {
    cases++
    if ($0 ~ /# *([Ss][Kk][Ii][Pp]|[Tt][Oo][Dd][Oo])/) next
    if (/^not/) bad++
    else good++
}
END {
    finish()
    print passed + 0, failed + 0
}
