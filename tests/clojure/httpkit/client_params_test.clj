(ns httpkit.client-params-test
  "From options to a request: no network here."
  (:require [clojure.string :as str]
            [clojure.test :refer [are deftest is testing]]
            [org.httpkit.client :as client])
  (:import [java.io ByteArrayInputStream File FileInputStream]
           [java.nio ByteBuffer]
           [java.util HashMap]
           [org.httpkit HttpMethod]
           [org.httpkit.client MultipartBody MultipartEntity]))

(def ^:private coerce-req @#'client/coerce-req)

(defn- text [^ByteBuffer buffer]
  (let [bytes (byte-array (.remaining buffer))]
    (.get (.duplicate buffer) bytes)
    (String. bytes "UTF-8")))

(deftest url-encode-is-form-encoding-of-the-string
  (are [in out] (= out (client/url-encode in))
    "a b+c*~é/" "a+b%2Bc*%7E%C3%A9%2F"
    nil         ""
    :k          "%3Ak"
    5           "5"
    "%"         "%25"))

(deftest query-string-in-every-style
  (are [params style out] (= out (client/query-string params style))
    {:k "v" :n nil}                 nil              "k=v&n="
    {:v [1 2] :ev []}               nil              "v=1&v=2&ev="
    {:v [1 2] :ev []}               :array           "v%5B%5D=1&v%5B%5D=2&ev%5B%5D="
    {:v [1 2] :ev []}               :comma-separated "v=1%2C2&ev="
    {:v [1 2] :ev []}               :indexed         "v%5B0%5D=1&v%5B1%5D=2"
    {:v [1 2]}                      :bogus           "v=1&v=2"
    {:a {:b {:c 5} :e {:f 6}}}      nil              "a%5Bb%5D%5Bc%5D=5&a%5Be%5D%5Bf%5D=6"
    {:a {:b {:c 5} :e {:f 6}}}      :indexed         "a%5Bb%5D%5Bc%5D=5&a%5Be%5D%5Bf%5D=6"
    {:p [{:x 1} {:x 2}]}            :indexed         "p%5B0%5D%5Bx%5D=1&p%5B1%5D%5Bx%5D=2"
    {:p [{:x 1} {:x 2}]}            nil              "p=%7B%22%7B%3Ax+1%7D%5Bx%5D%22+2%7D"
    {:a [[1 2] [3]]}                :indexed         "a%5B0%5D%5B0%5D=1&a%5B0%5D%5B1%5D=2&a%5B1%5D%5B0%5D=3"
    {:a {:b [1 2]}}                 :array           "a%5Bb%5D%5B%5D=1&a%5Bb%5D%5B%5D=2"
    {:a {:b [1 2]}}                 :comma-separated "a%5Bb%5D=1%2C2"
    {:a #{1}}                       nil              "a=%23%7B1%7D"
    {:a {}}                         nil              ""
    {:a [nil 1]}                    nil              "a=&a=1"
    {:a (list 1 2)}                 nil              "a=1&a=2"
    [[:a 1] [:b 2]]                 nil              "a=1&b=2"
    {"a b" "c d"}                   nil              "a+b=c+d"
    {:n/s "v"}                      nil              "s=v"
    nil                             nil              ""))

(defrecord ^:private Params [x y])

(deftest nested-params-of-any-map-and-of-pairs-are-sent-once
  (doseq [style [nil :array :comma-separated :indexed]]
    (testing style
      (are [params out] (= out (client/query-string params style))
        [[:a {:b 1}] [:c 2]]                   "a%5Bb%5D=1&c=2"
        [[:c 2] [:a {:b {:d 1}}]]              "c=2&a%5Bb%5D%5Bd%5D=1"
        (list (list :a {:b 1}))                "a%5Bb%5D=1"
        (seq {:a {:b 1}})                      "a%5Bb%5D=1"
        (sorted-map :a {:b 1} :c 2)            "a%5Bb%5D=1&c=2"
        {:a (sorted-map :b 1 :c {:d 2})}       "a%5Bb%5D=1&a%5Bc%5D%5Bd%5D=2"
        (->Params {:b 1} 2)                    "x%5Bb%5D=1&y=2"
        {:a (->Params 1 {:b 2})}               "a%5Bx%5D=1&a%5By%5D%5Bb%5D=2"
        (HashMap. {"a" {:b 1}})                "a%5Bb%5D=1")))
  (testing "in their order, however many"
    (is (= (str/join "&" (map #(str "k" % "%5Ba%5D=" %) (range 20)))
           (client/query-string (map (fn [i] [(str "k" i) {:a i}]) (range 20)))
           (client/query-string (apply array-map (mapcat (fn [i] [(str "k" i) {:a i}]) (range 20))))))))

(deftest keys-without-a-name-are-refused
  (doseq [style  [nil :indexed]
          params [{5 "x"} {:a {5 "x"}} {:a {nil "x"}} {:a {:b {5 "x"}}} {:a [1 {5 "x"}]}]]
    (is (thrown-with-msg? ClassCastException #"^parameter name (5|nil): expected a String, Keyword or Symbol$"
                          (client/query-string params style))
        [style params])))

(deftest params-that-are-no-pairs-are-named
  (let [expected "expected a map or a seq of pairs, such as [[:name value]]"]
    (doseq [[params named] {[:a 1]            "parameter :a"
                            [["a" 1] 5]       "parameter 5"
                            [{:a 1} {:b 2}]   "parameter of class clojure.lang.PersistentArrayMap"
                            (range 3)         "parameter 0"
                            #{[:a 1]}         nil
                            "a=b"             "parameters \"a=b\""
                            5                 "parameters 5"}
            style [nil :array :indexed]]
      (testing [params style]
        (is (= (if named (str named ": " expected) "a=1")
               (try (client/query-string params style)
                    (catch IllegalArgumentException e (ex-message e)))))))
    (doseq [opts [{:query-params [:a 1]} {:form-params [:a 1]} {:form-params [:a 1] :multipart []}]]
      (is (thrown-with-msg? IllegalArgumentException #"^parameter :a: expected a map or a seq of pairs"
                            (coerce-req (assoc opts :url "http://h/")))
          opts))))

(deftest query-params-go-before-the-fragment
  (are [url params out] (= out (:url (coerce-req {:url url :query-params params})))
    "http://h/a#f"   {:a 1 :b [1 2]} "http://h/a?a=1&b=1&b=2#f"
    "http://h/p"     {}              "http://h/p?"
    "http://h/p?"    {:a 1}          "http://h/p?&a=1"
    "http://h/p?x=y" {:a 1}          "http://h/p?x=y&a=1"
    "http://h"       {:a 1}          "http://h?a=1"
    "http://h/p#f"   nil             "http://h/p#f"))

(deftest options-become-headers
  (testing "credentials"
    (is (= {"Authorization" "Basic dTpw"} (:headers (coerce-req {:basic-auth ["u" "p"]}))))
    (is (= {"Authorization" "Basic dTpw"} (:headers (coerce-req {:basic-auth "u:p"}))))
    (is (= {"Authorization" "Basic w6k6w7w="} (:headers (coerce-req {:basic-auth ["é" "ü"]}))) "UTF-8")
    (is (= {"Authorization" "Bearer t"}
           (:headers (coerce-req {:oauth-token "t" :basic-auth ["u" "p"] :headers {"AUTHORIZATION" "x"}})))))
  (testing "replacing what the user gave in any case, last"
    (is (= [["X" "1"] ["User-Agent" "new"]]
           (vec (:headers (coerce-req {:user-agent "new" :headers (array-map "USER-agent" "old" "X" "1")}))))))
  (testing "none: untouched"
    (is (nil? (:headers (coerce-req {:url "http://h/"}))))))

(deftest methods-are-known-keywords
  (is (= HttpMethod/GET (:method (coerce-req {}))))
  (is (= HttpMethod/GET (:method (coerce-req {:method nil}))))
  (is (= HttpMethod/MKCOL (:method (coerce-req {:method :mkcol}))))
  (is (thrown-with-msg? RuntimeException #"unsupported method :foo" (coerce-req {:method :foo})))
  (is (thrown? ClassCastException (coerce-req {:method "get"}))))

(deftest form-params-replace-body-and-type
  (let [req (coerce-req {:form-params {:x "y z"} :body "no" :headers {"CONTENT-TYPE" "text/plain"} :k 1})]
    (is (= "x=y+z" (:body req)))
    (is (= {"Content-Type" "application/x-www-form-urlencoded"} (:headers req)))
    (is (= 1 (:k req)) "other keys stay"))
  (is (= "" (:body (coerce-req {:form-params {}}))))
  (is (= "v%5B%5D=1" (:body (coerce-req {:form-params {:v [1]} :nested-param-style :array})))))

(defn- multipart
  "Body of the multipart request with {boundary} for its boundary, and type."
  [req]
  (let [{:keys [headers ^ByteBuffer body]} (coerce-req req)
        type     (headers "Content-Type")
        boundary (second (str/split type #"boundary="))]
    (is (zero? (.position body)))
    (is (str/starts-with? boundary "----HttpKitFormBoundary"))
    [(str/replace type boundary "B") (str/replace (text body) boundary "B")]))

(defn- temp-file ^File [^long n]
  (let [file (File/createTempFile "client-params" nil)]
    (.deleteOnExit file)
    (spit file (apply str (repeat n "x")))
    file))

(deftest multipart-bodies
  (testing "kinds of content"
    (is (= ["multipart/form-data; boundary=B"
            (str "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n"
                 "--B\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n5\r\n"
                 "--B\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\nbytes\r\n"
                 "--B\r\nContent-Disposition: form-data; name=\"bb\"\r\nContent-Type: t/x\r\n\r\nbuf\r\n"
                 "--B\r\nContent-Disposition: form-data; name=\"i\"; filename=\"f.t\"\r\n"
                 "Content-Type: application/octet-stream\r\n\r\nstream\r\n"
                 "--B\r\nContent-Disposition: form-data; name=\"f\"\r\n"
                 "Content-Type: application/octet-stream\r\n\r\nxxx\r\n"
                 "--B--\r\n")]
           (multipart {:multipart [{:name "a" :content "x"}
                                   {:name "n" :content 5}
                                   {:name "b" :content (.getBytes "bytes")}
                                   {:name "bb" :content (doto (ByteBuffer/allocateDirect 3)
                                                          (.put (.getBytes "buf")) (.flip))
                                    :content-type "t/x"}
                                   {:name "i" :content (ByteArrayInputStream. (.getBytes "stream"))
                                    :filename "f.t"}
                                   {:name "f" :content (temp-file 3)}]}))))
  (testing "names are escaped, and UTF-8"
    (is (= (str "--B\r\nContent-Disposition: form-data; name=\"a\\\"b\\\\c\"; filename=\"é\"\r\n\r\nx\r\n--B--\r\n")
           (second (multipart {:multipart [{:name "a\"b\\c" :content "x" :filename "é"}]})))))
  (testing "mixed"
    (is (= ["multipart/mixed; boundary=B" "--B\r\nContent-Type: text/plain\r\n\r\nx\r\n--B\r\n\r\ny\r\n--B--\r\n"]
           (multipart {:multipart-mixed? true
                       :multipart [{:name "a" :content "x" :content-type "text/plain"} {:content "y"}]}))))
  (testing "form-params come first, in reverse order"
    (is (= (str "--B\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n2\r\n"
                "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
                "--B\r\nContent-Disposition: form-data; name=\"z\"\r\n\r\nlast\r\n--B--\r\n")
           (second (multipart {:multipart [{:name "z" :content "last"}] :form-params (array-map :a "1" :b 2)})))))
  (testing "no part at all"
    (is (= "--B--\r\n" (second (multipart {:multipart []})))))
  (testing "other headers stay"
    (is (= "1" (get-in (coerce-req {:multipart [] :headers {"X" "1" "content-TYPE" "gone"}}) [:headers "X"])))
    (is (= 2 (count (:headers (coerce-req {:multipart [] :headers {"X" "1" "content-TYPE" "gone"}})))))))

(deftest multipart-mistakes-are-thrown
  (are [class part] (thrown? class (coerce-req {:multipart [part]}))
    IllegalArgumentException {:name "a" :content true}
    NullPointerException     {:name "a" :content nil}
    ClassCastException       {:name :a :content "x"}
    IllegalArgumentException {:content "x"}
    IllegalArgumentException {:name "a\r\nb" :content "x"}
    IllegalArgumentException {:name "a" :content "x" :filename "a\nb"}
    IllegalArgumentException {:name "a" :content "x" :content-type "t\u0000"})
  (is (thrown-with-msg? IllegalArgumentException
                        #"Unknown parameter type java.lang.Boolean of parameter a. Try to pass a string."
                        (coerce-req {:multipart [{:name "a" :content true}]}))))

(deftest large-parts-are-left-in-their-files
  (let [file     (temp-file 300000)
        entities [(MultipartEntity. "a" "x" nil nil)
                  (MultipartEntity. "f" file "f" nil)
                  (MultipartEntity. "s" (FileInputStream. ^File file) "s" nil)]
        encode   #(MultipartEntity/encode "B" [(MultipartEntity. "a" "x" nil nil)
                                               (MultipartEntity. "f" file "f" nil)
                                               (MultipartEntity. "s" (FileInputStream. ^File file) "s" nil)]
                                          false)
        body     (MultipartBody/of "B" entities false false)
        open     (doto (.getDeclaredMethod MultipartBody "open" (make-array Class 0)) (.setAccessible true))
        length   (doto (.getDeclaredMethod MultipartBody "length" (make-array Class 0)) (.setAccessible true))
        whole    (.readAllBytes ^java.io.InputStream (.invoke open body (make-array Object 0)))]
    (is (instance? MultipartBody body))
    (is (= (seq (.array ^ByteBuffer (encode))) (seq whole)) "same bytes as the buffered form")
    (is (= (alength whole) (.invoke length body (make-array Object 0))))
    (is (instance? ByteBuffer (MultipartBody/of "B" [(MultipartEntity. "a" "x" nil nil)] false false)))
    (is (thrown? IllegalArgumentException
                 (MultipartBody/of "B" [(MultipartEntity. "f" file "f" nil) (MultipartEntity. "a" true nil nil)] false false)))))

(deftest max-body-filter-takes-ints
  (is (= "Response Filter: ACCEPT when body's length <= 10" (str (client/max-body-filter 10))))
  (are [n class] (thrown-with-msg? class #"^max-body-filter of .+: expected a number of bytes, at most 2147483647$"
                                   (client/max-body-filter n))
    3000000000 ArithmeticException
    1e30       ArithmeticException
    ##NaN      ArithmeticException
    nil        ClassCastException
    "5"        ClassCastException))

(deftest verbs-call-the-request-var-with-two-arguments
  (let [calls (atom [])
        cb    (fn [_])]
    (with-redefs [client/request (fn [& args] (swap! calls conj args) :result)]
      (is (= :result (client/get "u")))
      (client/post "u" {:a 1 :url "other" :method :put})
      (client/put "u" cb)
      (client/delete "u" :status)
      (client/head "u" #'text)
      (client/options "u" {:a 1} cb)
      (client/patch "u" nil cb))
    (is (= [[{:url "u" :method :get} nil]
            [{:url "u" :method :post :a 1} nil]
            [{:url "u" :method :put} cb]
            [{:url "u" :method :delete} :status]
            [{:url "u" :method :head} #'text]
            [{:url "u" :method :options :a 1} cb]
            [{:url "u" :method :patch} cb]]
           @calls))
    (is (thrown? ClassCastException (client/get "u" #{:a})))))

(deftest every-verb-says-how-to-call-it
  (doseq [verb '[get delete head post put options patch propfind proppatch lock unlock report acl copy move]]
    (is (= '([url & [opts callback]] [url & [callback]])
           (:arglists (meta (ns-resolve 'org.httpkit.client verb))))
        verb)))

(deftest make-client-refuses-event-names-of-other-types
  (is (thrown? IllegalArgumentException (client/make-client {:event-names "x"}))))
