(ns httpkit.client-redirect-test
  "Which request follows a redirect: no network here."
  (:require [clojure.test :refer [are deftest is testing]]
            [org.httpkit.client.redirects :as redirects])
  (:import [java.io ByteArrayInputStream]
           [java.net URISyntaxException]
           [java.nio ByteBuffer]))

(def ^:private follow redirects/follow)

(defn- hop
  ([opts location] (hop opts 302 location))
  ([opts status location]
   (follow opts (:url opts) status {"location" location})))

(def ^:private start "http://h.test:81/a/b?q=1#f")

(deftest locations-are-resolved-by-rfc-3986
  (are [location url] (= url (:url (hop {:url start} location)))
    "/t"               "http://h.test:81/t"
    "t"                "http://h.test:81/a/t"
    "/t?x=1"           "http://h.test:81/t?x=1"
    "?y=2"             "http://h.test:81/a/b?y=2"
    ""                 "http://h.test:81/a/b?q=1"
    "../../up"         "http://h.test:81/up"
    "http://o.test/x"  "http://o.test/x"
    "//o.test/x"       "http://o.test/x"
    "//a_b:1/../x"     "http://a_b:1/x")
  (testing "a base without a path"
    (are [location url] (= url (:url (hop {:url "http://h.test"} location)))
      "t"    "http://h.test/t"
      "../t" "http://h.test/t"
      "?q"   "http://h.test?q"
      ""     "http://h.test")))

(deftest every-example-of-rfc-3986-is-resolved-as-it-says
  (are [location url] (= url (:url (hop {:url "http://a/b/c/d;p?q"} location)))
    ;; 5.4.1
    "g:h"     "g:h"
    "g"       "http://a/b/c/g"
    "./g"     "http://a/b/c/g"
    "g/"      "http://a/b/c/g/"
    "/g"      "http://a/g"
    "//g"     "http://g"
    "?y"      "http://a/b/c/d;p?y"
    "g?y"     "http://a/b/c/g?y"
    "#s"      "http://a/b/c/d;p?q#s"
    "g#s"     "http://a/b/c/g#s"
    "g?y#s"   "http://a/b/c/g?y#s"
    ";x"      "http://a/b/c/;x"
    "g;x"     "http://a/b/c/g;x"
    "g;x?y#s" "http://a/b/c/g;x?y#s"
    ""        "http://a/b/c/d;p?q"
    "."       "http://a/b/c/"
    "./"      "http://a/b/c/"
    ".."      "http://a/b/"
    "../"     "http://a/b/"
    "../g"    "http://a/b/g"
    "../.."   "http://a/"
    "../../"  "http://a/"
    "../../g" "http://a/g"
    ;; 5.4.2
    "../../../g"    "http://a/g"
    "../../../../g" "http://a/g"
    "/./g"          "http://a/g"
    "/../g"         "http://a/g"
    "g."            "http://a/b/c/g."
    ".g"            "http://a/b/c/.g"
    "g.."           "http://a/b/c/g.."
    "..g"           "http://a/b/c/..g"
    "./../g"        "http://a/b/g"
    "./g/."         "http://a/b/c/g/"
    "g/./h"         "http://a/b/c/g/h"
    "g/../h"        "http://a/b/c/h"
    "g;x=1/./y"     "http://a/b/c/g;x=1/y"
    "g;x=1/../y"    "http://a/b/c/y"
    "g?y/./x"       "http://a/b/c/g?y/./x"
    "g?y/../x"      "http://a/b/c/g?y/../x"
    "g#s/./x"       "http://a/b/c/g#s/./x"
    "g#s/../x"      "http://a/b/c/g#s/../x"
    "http:g"        "http:g"))

(defn- bytes-as-chars [^String s ^String charset]
  (String. (.getBytes s charset) "ISO-8859-1"))

(deftest locations-that-are-not-ascii-are-percent-encoded-once
  (are [location url] (= url (:url (hop {:url start} location)))
    (bytes-as-chars "/f\u00fc?\u2603=\u00e4" "UTF-8") "http://h.test:81/f%C3%BC?%E2%98%83=%C3%A4"
    (bytes-as-chars "f\u00fc%C3%BC" "UTF-8")           "http://h.test:81/a/f%C3%BC%C3%BC"
    (bytes-as-chars "/caf\u00e9" "ISO-8859-1")        "http://h.test:81/caf%C3%A9"))

(deftest bad-locations-are-errors
  (doseq [location ["/a b" "/a\n/b" "http://[/"]]
    (let [e (is (thrown? IllegalArgumentException (hop {:url start} location)))]
      (is (instance? URISyntaxException (ex-cause e)))))
  (is (thrown-with-msg? Exception #"No location header is present on redirect response"
                        (follow {:url start} start 302 {}))))

(deftest an-empty-authority-stays-empty
  (doseq [location ["http:////e/x" "http:///..//e/x" "https:////e" "http:///x"]]
    (is (= location (:url (hop {:url start} location))))))

(deftest methods-and-bodies-by-status
  (let [opts {:url start :method :post :body "b" :form-params {:a 1} :multipart [{:name "a" :content "x"}]
              :headers {"Content-Type" "t" "content-encoding" "e" "CONTENT-LENGTH" "1" "Transfer-Encoding" "c" "X" "1"}
              :query-params {:q 1}}]
    (doseq [status [301 302 303]]
      (is (= {:url "http://h.test:81/t" :method :get :headers {"X" "1"} :trace-redirects [start]}
             (hop opts status "/t"))
          status))
    (doseq [status [307 308]]
      (is (= (-> (dissoc opts :query-params)
                 (assoc :url "http://h.test:81/t" :trace-redirects [start]))
             (hop opts status "/t"))
          status))
    (testing "all but HEAD become GET"
      (is (= :get (:method (hop {:url start :method :delete} 303 "/t"))))
      (is (= :head (:method (hop {:url start :method :head} 302 "/t")))))
    (testing "unless told otherwise"
      (is (= "b" (:body (hop (assoc opts :allow-unsafe-redirect-methods true) 302 "/t"))))
      (is (= :post (:method (hop (assoc opts :allow-unsafe-redirect-methods true) 302 "/t")))))))

(deftest bodies-that-can-be-read-once-are-not-sent-twice
  (doseq [opts [{:body (ByteArrayInputStream. (byte-array 1))}
                {:body (ByteBuffer/allocate 1)}
                {:multipart [{:name "a" :content "x"} {:name "b" :content (ByteBuffer/allocate 1)}]}
                {:multipart [(list :name "a" :content (ByteArrayInputStream. (byte-array 1)))]}]]
    (is (thrown-with-msg? Exception #"Cannot replay one-shot request body across redirect"
                          (hop (assoc opts :url start :method :post) 307 "/t")))
    (is (map? (hop (assoc opts :url start :method :post) 302 "/t")) "a GET leaves it behind")))

(deftest credentials-stay-with-their-origin
  (let [opts {:url     "http://h.test/a" :basic-auth ["u" "p"] :oauth-token "t"
              :headers {"Authorization" "x" "cookie" "c" "HOST" "h" "Proxy-Authorization" "pa" "X-Api-Key" "k"}}]
    (doseq [same ["/t" "http://H.TEST/t" "http://h.test:80/t"]]
      (is (= (select-keys opts [:basic-auth :oauth-token :headers])
             (select-keys (hop opts same) [:basic-auth :oauth-token :headers]))
          same))
    (doseq [other ["http://o.test/t" "https://h.test/t" "http://h.test:81/t" "http://h_test/t"]]
      (is (= {:headers {"X-Api-Key" "k"}}
             (select-keys (hop opts other) [:basic-auth :oauth-token :headers]))
          other)
      (doseq [proxy [{:proxy-url "http://p.test"} {:proxy-host "http://p.test" :proxy-port 80}]]
        (is (= {"Proxy-Authorization" "pa" "X-Api-Key" "k"} (:headers (hop (merge opts proxy) other)))
            "the proxy stays the same")))))

(deftest names-with-underscores-are-origins-of-their-own
  (let [kept? (fn [from to] (some? (:basic-auth (hop {:url from :basic-auth ["u" "p"]} to))))]
    (are [from to] (kept? from to)
      "http://a_b/"       "/t"
      "http://a_b/"       "http://A_B:80/t"
      "http://u@a_b:81/"  "http://a_b:81/t")
    (are [from to] (not (kept? from to))
      "http://a_b/"      "http://a_c/"
      "http://a_b/"      "http://a_b:81/"
      "http://a_b:81/"   "http://a_b:82/"
      "http://a_b/"      "https://a_b/"
      "http://a_b@c_d/"  "http://a_b@e_f/")))

(deftest hops-are-counted
  (is (= [start "u2"] (:trace-redirects (follow {:url "u2" :trace-redirects [start]} "u2" 302 {"location" "http://h/"}))))
  (is (vector? (:trace-redirects (follow {:trace-redirects (list start)} start 302 {"location" "/"}))))
  (are [limit trace] (thrown-with-msg? Exception (re-pattern (str "too many redirects: " limit))
                                       (hop {:url start :max-redirects limit :trace-redirects trace} "/t"))
    0 nil
    1 ["a"]
    2 ["a" "b" "c"])
  (is (thrown-with-msg? Exception #"too many redirects: 10" (hop {:url start :trace-redirects (repeat 10 "a")} "/t")))
  (is (map? (hop {:url start :trace-redirects (repeat 9 "a")} "/t"))))
