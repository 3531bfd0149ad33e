(ns httpkit.golden.json
  "Strict JSON (RFC 8259) for the golden data, without a dependency.

  Objects become array maps with string keys in the order written, whatever
  their size: `{\"smap\": ..}` of the data promises that order to the code under
  test. Arrays become vectors, integers Longs (BigInts when larger)."
  (:import [java.io PushbackReader StringReader]))

(set! *warn-on-reflection* true)

(declare read-value)

(defn- fail [what]
  (throw (ex-info (str "not JSON: " what) {:type ::syntax})))

(defn- skip-blanks [^PushbackReader r]
  (loop []
    (let [c (.read r)]
      (cond
        (or (= c 32) (= c 9) (= c 10) (= c 13)) (recur)
        (not (neg? c)) (.unread r c)))))

(defn- next-char
  "The next character that is not blank; the end of the text is an error."
  [^PushbackReader r]
  (skip-blanks r)
  (let [c (.read r)]
    (if (neg? c) (fail "text ends early") (char c))))

(defn- read-hex4 [^PushbackReader r]
  (let [digits (apply str (repeatedly 4 #(char (max 0 (.read r)))))]
    (if (re-matches #"[0-9a-fA-F]{4}" digits)
      (char (Integer/parseInt digits 16))
      (fail (str "escape \\u" digits)))))

(def ^:private escapes
  {\" \", \\ \\, \/ \/, \b \backspace, \f \formfeed, \n \newline, \r \return, \t \tab})

(defn- read-string-rest [^PushbackReader r]
  (let [sb (StringBuilder.)]
    (loop []
      (let [c (.read r)]
        (cond
          (< c 32) (fail "control character or end of text in a string")
          (= c (int \")) (.toString sb)
          (= c (int \\)) (let [e (char (max 0 (.read r)))]
                           (.append sb (char (cond
                                               (= e \u) (read-hex4 r)
                                               (escapes e) (escapes e)
                                               :else (fail (str "escape \\" e)))))
                           (recur))
          :else (do (.append sb (char c)) (recur)))))))

(defn- read-token
  "Everything up to the next character that cannot belong to a bare word."
  [^PushbackReader r first-char]
  (let [sb (StringBuilder. (str first-char))]
    (loop []
      (let [c (.read r)]
        (if (and (not (neg? c)) (re-matches #"[-+.0-9A-Za-z]" (str (char c))))
          (do (.append sb (char c)) (recur))
          (do (when-not (neg? c) (.unread r c))
              (.toString sb)))))))

(defn- read-word [r first-char]
  (let [token (read-token r first-char)]
    (case token
      "true" true
      "false" false
      "null" nil
      (let [[_ fraction] (or (re-matches #"-?(?:0|[1-9]\d*)((?:\.\d+)?(?:[eE][-+]?\d+)?)" token)
                             (fail token))]
        (if (= fraction "")
          (let [n (bigint token)]
            (if (<= Long/MIN_VALUE n Long/MAX_VALUE) (long n) n))
          (Double/parseDouble token))))))

(defn- read-sequence
  "Reads items with `read-item` until `end`; a comma between any two of them."
  [^PushbackReader r end read-item]
  (let [c (next-char r)]
    (if (= c end)
      []
      (do (.unread r (int c))
          (loop [items []]
            (let [items (conj items (read-item r))
                  c (next-char r)]
              (cond
                (= c end) items
                (= c \,) (recur items)
                :else (fail (str "'" c "' instead of ',' or '" end "'")))))))))

(defn- read-entry [r]
  (when-not (= \" (next-char r)) (fail "object key is no string"))
  (let [k (read-string-rest r)]
    (when-not (= \: (next-char r)) (fail (str "no ':' after key " k)))
    [k (read-value r)]))

(defn- read-object [r]
  (let [entries (read-sequence r \} read-entry)]
    (when-not (or (empty? entries) (apply distinct? (map first entries)))
      (fail (str "repeated key among " (mapv first entries))))
    (apply array-map (mapcat identity entries))))

(defn- read-value [r]
  (let [c (next-char r)]
    (case c
      \" (read-string-rest r)
      \{ (read-object r)
      \[ (read-sequence r \] read-value)
      (read-word r c))))

(defn parse
  "The value of the JSON text `s`. Throws ex-info `{:type ::syntax}` for
  anything RFC 8259 does not allow, repeated keys included."
  [^String s]
  (let [r (PushbackReader. (StringReader. s))
        v (read-value r)]
    (skip-blanks r)
    (if (neg? (.read r)) v (fail "text after the value"))))
