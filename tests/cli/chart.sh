#!/bin/sh
# `chart` with what a newcomer gets wrong: one line, the exit status, and nothing written.
. "$(dirname "$0")/common.sh"
always=chart

fails 2 'chart: needs --db FILE.db (see apriel-tool chart --help)'
fails 2 'chart: needs -o FILE.svg (see apriel-tool chart --help)' --db x.db
fails 2 'chart: unexpected argument "more"' --db x.db -o x.svg more
fails 2 '"x.jpg" must end in .svg, .png or .pdf' --db x.db -o x.jpg
fails 1 'cannot open "x.db": No such file or directory' --db x.db -o x.svg
echo "not a database, but long enough to be looked at as one" >text
fails 1 '"text" is not a score database (not SQLite)' --db text -o x.svg

# What follows draws; elsewhere there may be no gnuplot.
command -v gnuplot >/dev/null || exit $bad
"$tests/make_scores" scores.db

# whole FILE: a whole picture of its kind
whole() {
    case $1 in
    *.svg) [ "$(head -c 5 "$1")" = "<?xml" ] && [ "$(tail -c 8 "$1" | tr -d '\n')" = "</svg>" ] ;;
    *.png) head -c 8 "$1" | cmp -s - "$temporary/png.head" && tail -c 8 "$1" | cmp -s - "$temporary/png.tail" ;;
    *.pdf) [ "$(head -c 5 "$1")" = "%PDF-" ] && [ "$(tail -n 1 "$1")" = "%%EOF" ] ;;
    esac
}
printf '\211PNG\r\n\032\n' >png.head
printf 'IEND\256B`\202' >png.tail

# Names run nothing and come out as they are: the picture under that very name, and nothing else.
cat >one_name <<'X'
#!/bin/sh
rm -rf drawn
mkdir drawn
cd drawn
"$program" chart --db ../scores.db --run 1 --output="$1.svg" >../out 2>../errors || { cat ../errors >&2; exit 1; }
printf '%s\0' "$1.dat" "$1.gp" "$1.svg" | sort -z >../files.expected
find . -mindepth 1 -printf '%P\0' | sort -z >../files.found
cmp ../files.expected ../files.found >&2 || { echo "other files" >&2; exit 1; }
# and the script draws the same again
cp -- "./$1.svg" ../first.svg
rm -- "./$1.svg"
gnuplot -d "./$1.gp" 2>../errors || { cat ../errors >&2; exit 1; }
[ -s "./$1.svg" ] || { echo "the script draws nothing" >&2; exit 1; }
find . -mindepth 1 -printf '%P\0' | sort -z | cmp ../files.expected - >&2 || { echo "the script makes other files" >&2; exit 1; }
X
chmod +x one_name
export program
# shellcheck disable=SC2016 # no expansion in names
for name in plain 'x
system("touch pwned_gp")
#' "it's" "'" "''; system('touch pwned')" '"; system("touch pwned"); "' '`touch pwned`' '$(touch pwned)' '| touch pwned' \
    '@pwned' 'a\' '%d%s' '-x' ' ' "$(printf 'latin\351')" "$(printf '\033[31m')" "$(printf '\342\200\256gvs')" '<b>&amp;'; do
    ./one_name "$name" || complain "-o $name.svg"
done

# What a shell's profile says of gnuplot's terminals and files does not count.
cat >.gnuplot <<'X'
set terminal dumb
set output "rc_was_read"
X
for setting in GNUTERM=x11 GNUTERM=qt GNUTERM=wxt GNUTERM=aqua GNUTERM=nonsense GNUPLOT_LIB=/nonexistent \
    GNUPLOT_DRIVER_DIR=/nonexistent GNUPLOT_PS_DIR=/nonexistent GDFONTPATH=/nonexistent LC_ALL=de_DE.UTF-8 \
    LC_NUMERIC=de_DE.UTF-8 LANG=xx_XX "HOME=$temporary"; do
    env "$setting" "$program" chart --db scores.db --run 1 -o setting.svg --force >out 2>errors &&
        whole setting.svg || complain "$setting: $(cat errors)"
    [ -e first_setting ] || cp setting.svg first_setting
    cmp setting.svg first_setting || complain "$setting: another picture"
done
# shellcheck disable=SC2088 # no path is meant
[ ! -e rc_was_read ] || complain "~/.gnuplot is read"

# Nothing is replaced without --force, also not the data and the script beside the picture.
for there in c.svg c.dat c.gp; do
    echo mine >$there
    fails 1 "\"$there\" exists already: give --force to replace it, or choose another name" --db scores.db --run 1 -o c.svg
    [ "$(cat $there)" = mine ] || complain "$there is replaced"
    rm $there
done
for kind in svg png pdf; do
    "$program" chart --db scores.db --run 1 -o "k.$kind" --force >out || complain "$kind: not drawn"
    whole "k.$kind" || complain "$kind: not whole"
done

# A full disk: the message says so, the old picture stays, nothing else is left.
mkdir small
if mount -t tmpfs -o size=256k tmpfs small 2>/dev/null; then
    mounted=$temporary/small
    for kind in svg png pdf; do
        for fill in 252 248 244 236 220 204 180 140; do
            rm -f small/*
            echo old >"small/c.$kind"
            dd if=/dev/zero of=small/fill bs=1k count=$fill status=none 2>/dev/null || true
            found=0
            "$program" chart --db scores.db --run 1 -o "small/c.$kind" --force >out 2>errors || found=$?
            if [ $found -eq 0 ]; then
                whole "small/c.$kind" || complain "$kind, $fill kB: no whole picture, exit code 0"
            else
                [ $found -eq 1 ] && grep -q 'No space left on device$' errors || complain "$kind, $fill kB: $(cat errors)"
                [ "$(cat "small/c.$kind")" = old ] || complain "$kind, $fill kB: the old picture is gone"
                [ ! -e small/c.dat ] && [ ! -e small/c.gp ] || complain "$kind, $fill kB: left $(ls small)"
            fi
            [ -z "$(find small -name '.*' -type f)" ] || complain "$kind, $fill kB: $(ls -A small)"
        done
    done
    umount small
    mounted=
fi

# Runs with few layers: ranks among those that all runs have.
"$program" chart --kind ranks --db scores.db --run 1,2 -o ranks.svg >out 2>errors || complain "ranks: $(cat errors)"
grep -q '^2 layers are left out: ranks are among the 6 that all runs rank$' errors || complain "ranks: $(cat errors)"
[ "$(grep -c '^[1-9]' ranks.dat)" = 6 ] || complain "ranks of other layers: $(cat ranks.dat)"
awk '/^[1-9]/ && ($3 != $4 || $5 != 0 || $1 != $6 || $1 != $7) { exit 1 }' ranks.dat ||
    complain "equal orders (tau 1.00) are disputed: $(cat ranks.dat)"
grep -q 'tau 1.00' ranks.svg || complain "tau is not 1.00"

# An SVG says what it shows, and has the numbers of its layers inside.
grep -q '^<title>model-a: importance per layer</title>$' k.svg || complain "the title: $(grep '<title>' k.svg | head -n 1)"
grep -q '<title>run 1, layer 3: 0.13' k.svg || complain "no tooltip"
grep -q 'gnuplot_plot\|Gnuplot\|onmousemove' k.svg && complain "gnuplot's own titles"
height=$(sed -n 's/^ viewBox="0 0 [0-9]* \([0-9]*\)"$/\1/p' k.svg)
lowest=$(sed -n 's/.*translate([0-9.]*,\([0-9.]*\)).*/\1/p' k.svg | sort -n | tail -n 1)
awk -v height="$height" -v lowest="$lowest" 'BEGIN { exit !(height > 0 && lowest + 5 < height) }' ||
    complain "text at $lowest of $height"
exit $bad
