(ns httpkit.many-headers-test
  "Requests with many headers: how many pass, and that their map is an ordinary one, whatever the names."
  (:require [clojure.set        :as set]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [clojure.walk       :as walk]
            [httpkit.wire       :as wire])
  (:import (java.io ByteArrayInputStream ByteArrayOutputStream ObjectInputStream ObjectOutputStream)
           (java.lang.management ManagementFactory)
           (java.util HashMap Map)))

(set! *warn-on-reflection* true)

(defn- request-with
  "Text of a GET request with `Host` and a header for each of `names`, its value `v`."
  [names]
  (apply wire/get-request "/" (map #(vector % "v") names)))

(defn- numbered [n] (map #(str "x-" %) (range n)))

(defn- headers-of
  "The `:headers` of the request `text`."
  [text options]
  (let [seen (promise)]
    (wire/with-server [{:keys [port]} (fn [req] (deliver seen (:headers req)) {:status 200}) options]
      (is (= 200 (:status (wire/fetch port text))))
      (deref seen wire/patience-ms nil))))

;; How many

(deftest a-thousand-header-lines-pass-and-one-more-is-refused
  (wire/with-server [{:keys [port events]} (fn [req] {:body (str (count (:headers req)))}) {}]
    (is (= "1000" (:body (wire/fetch port (request-with (numbered 999))))))
    (is (= 431 (:status (wire/fetch port (request-with (numbered 1000))))))
    (is (wire/eventually #(some #{"httpkit.server.status.processed.431"} @events)))))

(deftest max-headers-is-an-option-and-can-be-switched-off
  (doseq [[limit n status] [[3 2 200] [3 3 431] [5000 4999 200] [5000 5000 431] [nil 5000 200] [0 5000 200]]]
    (wire/with-server [{:keys [port]} (fn [_] {:status 200}) {:max-headers limit}]
      (is (= status (:status (wire/fetch port (request-with (numbered n))))) [limit n]))))

(deftest trailers-count-as-headers-do
  (wire/with-server [{:keys [port]} (fn [req] {:body (str (count (:headers req)))}) {:max-headers 4}]
    (let [chunked #(str "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
                        (str/join (map (fn [n] (str n ": v\r\n")) %)) "\r\n")]
      (is (= "4" (:body (wire/fetch port (chunked (numbered 2))))))
      (is (= 431 (:status (wire/fetch port (chunked (numbered 3)))))))))

;; An ordinary map

(def ^:private many
  "Two hundred names, and the map that they must become."
  (let [names (numbered 200)]
    [(request-with names)
     (into {"host" "localhost"} (map #(vector % "v")) names)]))

(def ^:private strangers [:x-1 'x-1 "x-1000" "" nil 1 1.0 \x true [] {} Object])

(deftest many-headers-are-an-ordinary-map
  (let [[text plain] many
        headers      (headers-of text {})]
    (is (map? headers))
    (is (= plain headers))
    (is (= headers plain))
    (is (= (hash plain) (hash headers)))
    (is (= (.hashCode ^Object plain) (.hashCode ^Object headers)))
    (is (.equals (HashMap. ^Map plain) headers))
    (is (= (count plain) (count headers) (count (seq headers)) (.size ^Map headers)))
    (is (= (set (keys plain)) (set (keys headers)) (.keySet ^Map headers)))
    (is (= (frequencies (vals plain)) (frequencies (vals headers))))
    (is (= plain (reduce-kv assoc {} headers) (into {} headers) (read-string (pr-str headers))))
    (is (= ["x-7" "v"] (find headers "x-7")))
    (is (= "v" (headers "x-7") (get headers "x-7") ((comp headers str) 'x-7)))
    (doseq [stranger strangers]
      (testing (pr-str stranger)
        (is (nil? (get headers stranger)))
        (is (= ::none (get headers stranger ::none)))
        (is (not (contains? headers stranger)))
        (is (nil? (find headers stranger)))
        (is (= plain (dissoc headers stranger)))))))

(deftest many-headers-can-be-changed-as-any-map
  (let [[text plain] many
        headers      (headers-of text {})]
    (doseq [[what change] {"assoc a name"    #(assoc % "x-new" 1)
                           "assoc over"      #(assoc % "x-7" 1)
                           "dissoc"          #(dissoc % "x-7" "host" "x-199")
                           "dissoc all"      #(apply dissoc % (keys plain))
                           "merge"           #(merge % {"a" 1, "x-1" 2, :b 3})
                           "merge into"      #(merge {"a" 1, "x-1" 2} %)
                           "update"          #(update % "host" str "!")
                           "into"            #(into % (map (fn [n] [(str "y-" n) n])) (range 300))
                           "select-keys"     #(select-keys % ["host" "x-1" :none])
                           "rename-keys"     #(set/rename-keys % {"x-1" "y-1", "host" :host})
                           "keywordize"      walk/keywordize-keys
                           "filter"          #(into {} (filter (fn [[k _]] (str/starts-with? k "x-1"))) %)
                           "strangers"       #(into % (map-indexed (fn [i k] [k i])) strangers)
                           "and out again"   #(apply dissoc (into % (map (fn [k] [k 1])) strangers) strangers)
                           "empty"           empty
                           "zipmap"          #(zipmap (keys %) (range))}]
      (let [before (pr-str headers)]
        (if (= "zipmap" what)
          (is (= (count plain) (count (change headers))))
          (is (= (change plain) (change headers)) what))
        (is (= before (pr-str headers)) "the map itself is as it was")))
    (is (= {:a 1} (meta (with-meta headers {:a 1}))))
    (is (nil? (meta headers)))
    (let [bytes (ByteArrayOutputStream.)]
      (.writeObject (ObjectOutputStream. bytes) (assoc headers :k 1))
      (is (= (assoc plain :k 1) (.readObject (ObjectInputStream. (ByteArrayInputStream. (.toByteArray bytes)))))))))

(deftest repeated-names-among-many-are-joined-in-their-order
  (let [lines (mapcat (fn [n] [[(str "X-" n) n] ["Cookie" n] ["X-Same" n]]) (range 60))
        headers (headers-of (apply wire/get-request "/" lines) {})]
    (is (= (str/join "," (range 60)) (headers "x-same")))
    (is (= (str/join ";" (range 60)) (headers "cookie")))
    (is (= 63 (count headers)))))

;; Whatever the names

(def ^:private colliding
  "2,200 names of 24 letters that share one hash: `aa` and `c#` do."
  (->> (reduce (fn [names _] (for [n names, pair ["aa" "c#"]] (str n pair))) [""] (range 12))
       (take 2200)))

(defn- cpu-ms
  "Milliseconds of CPU that this thread needs for `f`."
  [f]
  (let [threads (ManagementFactory/getThreadMXBean)
        start   (.getCurrentThreadCpuTime threads)]
    (f)
    (quot (- (.getCurrentThreadCpuTime threads) start) 1000000)))

(deftest names-that-share-a-hash-cost-no-more-than-others
  (is (= 1 (count (set (map #(.hashCode ^Object %) colliding)))))
  (let [use-headers (fn [req]
                      (let [headers (:headers req)]
                        (run! #(assert (string? (headers %))) (take-nth 10 (keys headers)))
                        (assert (= 1 (get (assoc headers "x-new" 1) "x-new")))
                        (assert (nil? (get (dissoc headers "host") "host")))
                        (assert (= headers (into headers headers)))))
        needed      (atom {})
        handler     (fn [req]
                      (let [kind (get-in req [:headers "kind"])]
                        (swap! needed update kind (fnil conj []) (cpu-ms #(use-headers req)))
                        {:status 200}))
        text        (fn [kind names]
                      (apply wire/get-request "/" ["kind" kind] (map #(vector % "v") names)))]
    (wire/with-server [{:keys [port]} handler {:max-headers nil}]
      (dotimes [_ 10]
        (is (= 200 (:status (wire/fetch port (text "plain" (map #(format "%024d" %) (range 2200)))))))
        (is (= 200 (:status (wire/fetch port (text "colliding" colliding)))))))
    (let [{:strs [plain colliding]} @needed
          best #(apply min %)]
      (is (= 10 (count plain) (count colliding)))
      ;; In a hash map it is a hundred times as much.
      (is (< (best colliding) (+ 20 (* 5 (best plain)))) (pr-str @needed)))))
